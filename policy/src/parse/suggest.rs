//! "Did you mean …?": the nearest of some words.
//!
//! In: a word and candidates. Out: the nearest one, if any is near. It is only ever told, never taken.

/// The candidate with the fewest edits, if there are at most two and fewer than half of the word's letters.
pub(super) fn suggest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.chars().count().div_ceil(3).clamp(1, 2);
    let near = candidates.map(|candidate| (distance(word, candidate), candidate));
    near.filter(|(edits, _)| *edits <= limit).min().map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, two neighbouring letters swapped counted as two.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(LONGEST).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.chars().take(LONGEST).enumerate() {
        let mut next = vec![index.saturating_add(1)];
        for (b, pair) in right.iter().zip(row.windows(2)) {
            let (diagonal, above) = match pair {
                [diagonal, above] => (*diagonal, *above),
                _ => continue,
            };
            let beside = next.last().copied().unwrap_or(0);
            let swap = diagonal.saturating_add(usize::from(a != *b));
            next.push(swap.min(above.saturating_add(1)).min(beside.saturating_add(1)));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_suggested() {
        let words = ["duration", "max", "reason", "warn"];
        assert_eq!(suggest("duraton", words.into_iter()), Some("duration"));
        assert_eq!(suggest("resaon", words.into_iter()), Some("reason"));
        assert_eq!(suggest("mx", words.into_iter()), Some("max"));
        assert_eq!(suggest("colour", words.into_iter()), None);
        assert_eq!((distance("", "abc"), distance("kitten", "sitting"), distance("a", "a")), (3, 3, 0));
    }
}
