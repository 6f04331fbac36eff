//! Every public future can be given to `tokio::spawn`, and every handle can be shared between threads. This test passes if it
//! compiles.

use plugwire_process::{
    Command, Exit, ForeignProcess, Grace, OutputReaders, PrivateDir, Process, StderrTail, blocking,
};

fn is_send<T: Send>(_: T) {}
fn is_send_and_sync<T: Send + Sync>() {}

#[test]
fn handles_can_be_shared() {
    is_send_and_sync::<Process>();
    is_send_and_sync::<ForeignProcess>();
    is_send_and_sync::<OutputReaders>();
    is_send_and_sync::<StderrTail>();
    is_send_and_sync::<PrivateDir>();
    is_send_and_sync::<Exit>();
}

/// Only the types matter: it is never called.
#[allow(dead_code)]
fn futures_can_be_spawned(
    command: Command,
    process: &Process,
    foreign: &ForeignProcess,
    readers: &OutputReaders,
    tail: StderrTail,
    grace: Grace,
) {
    is_send(command.spawn());
    is_send(process.end(grace));
    is_send(process.ended());
    is_send(process.exited());
    is_send(process.exited_within(grace.exit));
    is_send(foreign.end(grace));
    is_send(foreign.ended());
    is_send(readers.finish());
    is_send(tail.read(tokio::io::empty()));
    is_send(blocking::run(|_| ()));
}
