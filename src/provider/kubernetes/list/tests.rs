use bytes::Bytes;
use prost::Message;

use super::super::wire::{Named, Pod};
use super::*;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/cases/wire/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Reads a whole body in pieces of one size.
fn read<T: Message + Default>(bytes: &[u8], kind: &'static str, step: usize) -> Result<(ListMeta, Vec<T>), String> {
    let mut decoder = Decoder::<T>::new(kind);
    let (mut head, mut items) = (ListMeta::default(), Vec::new());
    for piece in bytes.chunks(step) {
        decoder.push(&Bytes::copy_from_slice(piece));
        while let Some(part) = decoder.next()? {
            match part {
                Part::Head(meta) => head = meta,
                Part::Item(item) => items.push(item.map_err(|error| error.to_string())?),
            }
        }
    }
    decoder.finish()?;
    Ok((head, items))
}

#[test]
fn pieces_of_any_size_give_the_same_list() {
    let bytes = fixture("pods.pb");
    let (head, items) = read::<Pod>(&bytes, "PodList", bytes.len()).unwrap();
    assert!(items.len() >= 4 && !head.resource_version.is_empty());
    for step in [1, 2, 3, 7, 100, 4096] {
        assert_eq!(read::<Pod>(&bytes, "PodList", step).unwrap(), (head.clone(), items.clone()), "{step}");
    }
}

#[test]
fn a_list_that_is_cut_short_is_no_list() {
    let bytes = fixture("daemonsets.pb");
    assert!(read::<Named>(&bytes, "DaemonSetList", 64).is_ok());
    // Its last fields, empty texts, say nothing, so that a cut between them goes unnoticed and does no harm.
    for cut in 0..bytes.len() - 4 {
        assert!(read::<Named>(&bytes[..cut], "DaemonSetList", 64).is_err(), "{cut} of {}", bytes.len());
    }
}

#[test]
fn nonsense_is_refused() {
    assert!(read::<Pod>(b"{\"kind\":", "PodList", 64).is_err());
    assert!(read::<Pod>(&fixture("nodes.pb"), "PodList", 64).is_err(), "another kind");
    let huge =
        [b"k8s\0".as_slice(), &[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    assert!(read::<Pod>(&huge, "PodList", 64).is_err(), "an object of 4 GB");
    let endless = [b"k8s\0".as_slice(), &[0xff; 32]].concat();
    assert!(read::<Pod>(&endless, "PodList", 64).is_err(), "a number without end");
    let longer = [b"k8s\0".as_slice(), &[0x12, 0x03, 0x12, 0x05, 1, 2, 3, 4, 5]].concat();
    assert!(read::<Pod>(&longer, "PodList", 64).is_err(), "an object longer than its list");
}

#[test]
fn an_envelope_is_taken_off_whole_bodies_too() {
    let bytes = fixture("status-budget.pb");
    let (kind, raw) = unwrap_envelope(&bytes).unwrap();
    assert_eq!((kind.api_version.as_str(), kind.kind.as_str()), ("v1", "Status"));
    assert!(!raw.is_empty());
    assert!(unwrap_envelope(b"k8s\0").is_none());
    assert!(unwrap_envelope(b"").is_none());
}

#[test]
fn an_item_that_makes_no_sense_does_not_spoil_a_page() {
    let page =
        r#"{"kind":"PodList","metadata":{"continue":"c"},"items":[{"metadata":{"name":"a"}},{"metadata":7},{}]}"#;
    let page: JsonPage<Pod> = serde_json::from_str(page).unwrap();
    let items = page.items.unwrap();
    assert_eq!((items.good.len(), items.bad), (2, 1));
    let page: JsonPage<Pod> = serde_json::from_str(r#"{"kind":"PodList","metadata":{},"items":null}"#).unwrap();
    assert!(page.items.is_none());
}
