//! What the service manager hears at a real notify socket while the core works, and while it does not. Threat R22.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::place::*;
use crate::manager::Manager;

const EVERY: Duration = Duration::from_millis(50);

/// What is heard within a time; the core works on meanwhile.
async fn heard(socket: &UnixDatagram, within: Duration) -> Option<String> {
    let socket = socket.try_clone().unwrap();
    let read = tokio::task::spawn_blocking(move || {
        socket.set_read_timeout(Some(within)).unwrap();
        let mut text = [0; 64];
        let length = socket.recv(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text[..length]).into_owned())
    });
    read.await.unwrap()
}

#[tokio::test]
async fn r22_a_daemon_whose_writer_stands_still_no_longer_says_that_it_works() {
    let place = Place::new().await;
    let name = place.folder.path().join("notify");
    let socket = UnixDatagram::bind(&name).unwrap();
    let manager = Manager::at(name.as_os_str(), Some(EVERY));
    let watch = tokio::spawn(manager.watch(place.core.clone()));
    for _ in 0..3 {
        assert_eq!(heard(&socket, Duration::from_secs(20)).await.as_deref(), Some("WATCHDOG=1"));
    }
    // Somebody took the writer and never gives it back: the runtime, its timers and its readers go on.
    let held = place.core.inner().store.write().await.unwrap();
    while heard(&socket, EVERY).await.is_some() {}
    assert_eq!(heard(&socket, EVERY * 20).await, None);
    assert!(place.core.inner().store.glance().await.is_ok());
    drop(held);
    assert_eq!(heard(&socket, Duration::from_secs(20)).await.as_deref(), Some("WATCHDOG=1"));
    // And a store that is closed does no work.
    place.core.close().await;
    while heard(&socket, EVERY).await.is_some() {}
    assert_eq!(heard(&socket, EVERY * 20).await, None);
    watch.abort();
}
