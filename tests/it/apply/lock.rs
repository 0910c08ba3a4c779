//! The lock: taken, renewed over a connection of its own, and given back.

use haulout::apply::LockError;

use super::*;

/// Whether it gives the lock back.
fn releases(asked: &Asked) -> bool {
    asked.method == "PATCH" && asked.path.contains("/leases/") && asked.body["spec"]["holderIdentity"].is_null()
}

fn touches_nodes(asked: &Asked) -> bool {
    asked.method != "GET" && asked.path.contains("/nodes/")
}

#[tokio::test]
async fn a_lock_that_nobody_can_renew_is_given_back_before_anything_is_done() {
    let mut scene = Scene::new();
    scene.lock_connects = false;
    let ran = scene.run(|_| Fate::Pass).await;
    assert!(matches!(ran.result, Err(ApplyError::Lock(LockError::Renew { .. }))), "{:?}", ran.result);
    assert_eq!(scene.lock_holder().await, Value::Null);
    assert!(!scene.asked().iter().any(touches_nodes));

    let mut scene = Scene::new();
    scene.lock_fault = Arc::new(|_| denied());
    let ran = scene.run(|_| Fate::Pass).await;
    assert!(matches!(ran.result, Err(ApplyError::Lock(LockError::Renew { .. }))), "{:?}", ran.result);
    assert_eq!(scene.lock_holder().await, Value::Null);
}

#[tokio::test]
async fn a_lock_that_cannot_be_written_down_is_given_back() {
    let mut scene = Scene::new();
    scene.journal_fails = |line| line.contains("LockTaken");
    let ran = scene.run(|_| Fate::Pass).await;
    assert!(matches!(ran.result, Err(ApplyError::Journal(_))), "{:?}", ran.result);
    assert_eq!(scene.lock_holder().await, Value::Null);
}

#[tokio::test]
async fn a_lock_that_could_not_be_given_back_is_not_said_to_be() {
    let mut scene = Scene::new();
    scene.lock_fault = Arc::new(|asked| if releases(asked) { denied() } else { Fate::Pass });
    let ran = scene.run(|_| Fate::Pass).await;
    assert!(ran.is_done(), "{:?}", ran.outcome());
    assert_eq!(scene.lock_holder().await, "run-1");
    assert!(!ran.has(|kind| matches!(kind, EventKind::LockReleased { .. })));
}

#[tokio::test]
async fn a_lock_that_was_given_back_without_an_answer_is_said_to_be() {
    let mut scene = Scene::new();
    scene.lock_fault = Arc::new(|asked| if releases(asked) { Fate::Lost } else { Fate::Pass });
    let ran = scene.run(|_| Fate::Pass).await;
    assert!(ran.has(|kind| matches!(kind, EventKind::LockReleased { .. })));
}

#[tokio::test]
async fn a_lock_that_was_taken_without_an_answer_is_read_back() {
    let takes = |asked: &Asked| asked.method != "GET" && asked.path.contains("/leases") && !releases(asked);
    // Made anew, and then, on the second run, written; each time done, and not done.
    for lost in [true, false] {
        let scene = Scene::new();
        for reason in ["kernel", "glibc"] {
            let annotations = json!({ "metadata": { "annotations": { "sim.haulout.dev/reboot-required": reason } } });
            send(&scene.sandbox, "PATCH", "/api/v1/nodes/n1", &annotations).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            let ran = scene
                .run(move |asked| match takes(asked) && asked.before == 0 {
                    true if lost => Fate::Lost,
                    true => Fate::Answer(502, Value::Null),
                    false => Fate::Pass,
                })
                .await;
            assert!(ran.is_done(), "{:?}", ran.result);
            assert_eq!(scene.lock_holder().await, Value::Null);
        }
    }
}
