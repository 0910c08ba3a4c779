//! Folding: many equal things become one, so that the plan of 5,000 nodes can still be read.

use std::collections::BTreeMap;

/// What is shown for one or many things.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fold<T> {
    /// One by itself.
    One(T),
    /// Many of which the same is said.
    Same(Vec<T>),
    /// Many that differ only in particulars.
    Alike(Vec<T>),
}

/// The fewest equal things worth folding.
const FEWEST: usize = 4;

/// Folds `items` where there are more than `most`: first those with the same `same`, then, if still more than `most`
/// are left, those with the same `alike`. In the order of the first of each.
///
/// What results is bounded: groups hold at least a fiftieth of the items.
pub(super) fn fold<T, S: Ord, A: Ord>(
    items: Vec<T>,
    most: usize,
    same: impl Fn(&T) -> S,
    alike: impl Fn(&T) -> A,
) -> Vec<Fold<T>> {
    if items.len() <= most {
        return items.into_iter().map(Fold::One).collect();
    }
    let fewest = FEWEST.max(items.len() / 50);
    let mut folds: Vec<(usize, Fold<T>)> = Vec::new();
    let mut rest: Vec<(usize, T)> = Vec::new();
    for group in group(items.into_iter().enumerate().collect(), |(_, item)| same(item)) {
        if group.len() >= fewest {
            folds.push((first(&group), Fold::Same(strip(group))));
        } else {
            rest.extend(group);
        }
    }
    if rest.len() <= most {
        folds.extend(rest.into_iter().map(|(at, item)| (at, Fold::One(item))));
    } else {
        for group in group(rest, |(_, item)| alike(item)) {
            let at = first(&group);
            let mut group = strip(group);
            // One thing is like no other: it can be told of in full.
            let fold = if group.len() == 1 { group.pop().map(Fold::One) } else { Some(Fold::Alike(group)) };
            folds.extend(fold.map(|fold| (at, fold)));
        }
    }
    folds.sort_by_key(|(at, _)| *at);
    folds.into_iter().map(|(_, fold)| fold).collect()
}

fn first<T>(group: &[(usize, T)]) -> usize {
    group.iter().map(|(at, _)| *at).min().unwrap_or(0)
}

fn strip<T>(mut group: Vec<(usize, T)>) -> Vec<T> {
    group.sort_by_key(|(at, _)| *at);
    group.into_iter().map(|(_, item)| item).collect()
}

fn group<T, K: Ord>(items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<Vec<T>> {
    let mut groups: BTreeMap<K, Vec<T>> = BTreeMap::new();
    for item in items {
        groups.entry(key(&item)).or_default().push(item);
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn few_things_stay_as_they_are() {
        let folded = fold(vec![1, 1, 1, 1], 4, |n| *n, |_| ());
        assert_eq!(folded, [Fold::One(1), Fold::One(1), Fold::One(1), Fold::One(1)]);
    }

    #[test]
    fn equal_things_fold_and_the_rest_folds_only_if_it_is_long() {
        let folded = fold(vec![7, 1, 1, 1, 1, 8], 4, |n| *n, |_| ());
        assert_eq!(folded, [Fold::One(7), Fold::Same(vec![1, 1, 1, 1]), Fold::One(8)]);
        let folded = fold((0..6).collect(), 4, |n| *n, |n| n % 2);
        assert_eq!(folded, [Fold::Alike(vec![0, 2, 4]), Fold::Alike(vec![1, 3, 5])]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_the_result_is_short(items in proptest::collection::vec(0_u16..500, 0..3000)) {
            let folded = fold(items.clone(), 20, |n| *n, |n| n % 3);
            prop_assert!(folded.len() <= 50 + 20 + 3, "{}", folded.len());
            let mut all: Vec<u16> = folded.into_iter().flat_map(|fold| match fold {
                Fold::One(item) => vec![item],
                Fold::Same(items) | Fold::Alike(items) => items,
            }).collect();
            let mut items = items;
            all.sort_unstable();
            items.sort_unstable();
            prop_assert_eq!(all, items);
        }
    }
}
