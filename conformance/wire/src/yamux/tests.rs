use super::*;

fn pair() -> (Session, Session) {
    let (one, other) = tokio::io::duplex(64 * 1024);
    let trace = Trace::new();
    (
        Session::start(Box::new(one), Side::Host, &trace),
        Session::start(Box::new(other), Side::Plugin, &trace),
    )
}

#[tokio::test]
async fn more_than_a_window_arrives_whole_both_ways() {
    let (host, plugin) = pair();
    let mut opened = host.open();
    let mut taken = plugin.accept().await.unwrap();
    assert!(opened.acknowledged().await);
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let sent = data.clone();
    let writer = tokio::spawn(async move {
        opened.write_all(&sent).await.unwrap();
        opened.shutdown().await.unwrap();
        let mut back = Vec::new();
        opened.read_to_end(&mut back).await.unwrap();
        back
    });
    let mut got = Vec::new();
    taken.read_to_end(&mut got).await.unwrap();
    assert!(got == data);
    taken.write_all(b"thanks").await.unwrap();
    taken.shutdown().await.unwrap();
    assert_eq!(writer.await.unwrap(), b"thanks");
}

#[tokio::test]
async fn a_reset_and_a_bad_frame_are_told() {
    let (host, plugin) = pair();
    let mut opened = host.open();
    drop(plugin.accept().await.unwrap());
    assert!(opened.read(&mut [0; 8]).await.is_err());
    host.send(Frame { version: 9, ..Frame::new(PING, SYN, 0, 1) });
    assert!(plugin.ended().await.contains("not yamux"));
    assert!(plugin.accept().await.is_none());
}
