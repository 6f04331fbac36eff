//! Every public future can be given to `tokio::spawn`, and every handle can be shared between threads. This test passes if it
//! compiles.

use plugwire::broker::{BrokeredListener, Serving};
use plugwire::host::{Attach, Launch, PluginHandle, StartError};
use plugwire::plugin::{Plugin, TestPlugin};
use plugwire::{Broker, Channel, Handshake, Services};

fn is_send<T: Send>(_: T) {}
fn is_send_and_sync<T: Send + Sync>() {}

#[test]
fn handles_can_be_shared() {
    is_send_and_sync::<PluginHandle>();
    is_send_and_sync::<Broker>();
    is_send_and_sync::<Channel>();
    is_send_and_sync::<TestPlugin>();
    is_send_and_sync::<BrokeredListener>();
    is_send_and_sync::<Serving>();
    is_send_and_sync::<StartError>();
    is_send_and_sync::<Handshake>();
}

/// Only the types matter: it is never called.
#[allow(dead_code, clippy::too_many_arguments)]
fn futures_can_be_spawned(
    launch: Launch,
    attach: Attach,
    handle: &PluginHandle,
    broker: &Broker,
    [services, more]: [Services; 2],
    listener: BrokeredListener,
    [mut serving, finished]: [Serving; 2],
    [plugin, tried]: [Plugin; 2],
) {
    is_send(launch.start());
    is_send(attach.connect());
    is_send(handle.shutdown());
    is_send(handle.ping());
    is_send(handle.exited());
    is_send(broker.listen(1));
    is_send(broker.serve(1, services));
    is_send(broker.dial(1));
    is_send(listener.serve(more));
    is_send(serving.ended());
    is_send(finished.finish());
    is_send(plugin.serve());
    is_send(tried.try_serve());
}
