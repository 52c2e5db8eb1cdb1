//! Of all that befell a fleet whose run failed, the little that it takes to fail: faults are left out by halves, and the run
//! is made again, until none of them can be missed.

use super::node_clock::Clocks;
use super::strike::Schedule;
use super::world::Setup;

/// Leaves things out by halves, by quarters and so on, while what is left still `fails`, for so many `tries`. Delta debugging:
/// what is left at the end cannot lose any single one, if the tries have sufficed.
pub fn least<T: Clone>(all: Vec<T>, tries: &mut usize, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let (mut left, mut parts) = (all, 2);
    while !left.is_empty() {
        let size = left.len().div_ceil(parts);
        let found = (0..left.len()).step_by(size).find_map(|from| {
            *tries = tries.checked_sub(1)?;
            let without: Vec<T> =
                left[..from].iter().chain(&left[(from + size).min(left.len())..]).cloned().collect();
            fails(&without).then_some(without)
        });
        match found {
            Some(without) => (left, parts) = (without, parts.saturating_sub(1).max(2)),
            None if size == 1 || *tries == 0 => break,
            None => parts = (parts * 2).min(left.len()),
        }
    }
    left
}

/// A setup that fails, with as few strikes and as little other disorder as it takes. `fails` makes a run.
pub fn shrink(
    setup: &Setup,
    struck: &Schedule,
    mut tries: usize,
    mut fails: impl FnMut(Setup) -> bool,
) -> Setup {
    let mut least_setup = Setup { schedule: Some(struck.clone()), ..setup.clone() };
    if !fails(least_setup.clone()) {
        // What chance decides otherwise is the fault.
        return setup.clone();
    }
    for quieter in [
        (|of: &mut Setup| of.disorder = false) as fn(&mut Setup),
        |of| of.stalls = false,
        |of| of.clocks = Clocks::Alike,
    ] {
        let mut tried = least_setup.clone();
        quieter(&mut tried);
        tries = tries.saturating_sub(1);
        if fails(tried.clone()) {
            least_setup = tried;
        }
    }
    let schedule = least(struck.clone(), &mut tries, |strikes| {
        fails(Setup { schedule: Some(strikes.to_vec()), ..least_setup.clone() })
    });
    Setup { schedule: Some(schedule), ..least_setup }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_takes_is_found_wherever_it_is() {
        for needed in [vec![], vec![0], vec![63], vec![3, 40], vec![0, 31, 32, 63], (0..64).collect()] {
            let mut tries = 2_000;
            let found = least((0..64).collect::<Vec<u64>>(), &mut tries, |left| {
                needed.iter().all(|one| left.contains(one))
            });
            assert_eq!(found, needed);
            assert!(tries > 0);
        }
    }

    #[test]
    fn tries_are_bounded_and_what_is_left_fails() {
        let mut made = 0;
        let found = least((0..64).collect::<Vec<u64>>(), &mut 10, |left| {
            made += 1;
            left.contains(&3) && left.contains(&40)
        });
        assert!(made <= 10 && found.contains(&3) && found.contains(&40));
    }
}
