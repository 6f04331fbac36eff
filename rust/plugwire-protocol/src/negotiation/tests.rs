use proptest::prelude::*;

use super::choose;

#[test]
fn the_highest_common_version_wins_in_any_order() {
    assert_eq!(choose(&[1, 3, 2], &[3, 1]), Some(3));
    assert_eq!(choose(&[2, 1], &[1, 2, 9]), Some(2));
}

#[test]
fn without_a_common_version_it_is_our_lowest() {
    assert_eq!(choose(&[5, 4, 6], &[1, 2]), Some(4));
    assert_eq!(choose(&[5, 4, 6], &[]), Some(4));
}

#[test]
fn version_zero_is_a_version() {
    assert_eq!(choose(&[0, 1], &[0]), Some(0));
    assert_eq!(choose(&[0], &[]), Some(0));
}

#[test]
fn a_plugin_without_versions_has_none_to_choose() {
    assert_eq!(choose(&[], &[1]), None);
}

proptest! {
    #[test]
    fn the_choice_is_ours_and_common_whenever_it_can_be(
        own in prop::collection::vec(0_u32..8, 1..5),
        offered in prop::collection::vec(0_u32..8, 0..5),
    ) {
        let chosen = choose(&own, &offered).expect("there are versions to choose from");
        prop_assert!(own.contains(&chosen));
        let common: Vec<u32> = own.iter().copied().filter(|v| offered.contains(v)).collect();
        match common.iter().max() {
            Some(highest) => prop_assert_eq!(chosen, *highest),
            None => prop_assert!(own.iter().all(|v| chosen <= *v)),
        }
    }
}
