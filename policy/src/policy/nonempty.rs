//! A list that grants something and so never is empty.
//!
//! In: a first element and others, or a list that is checked. Out: [`NonEmpty`]. Spec: docs/policy.md "Empty lists".

/// One element or more, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonEmpty<T> {
    first: T,
    rest: Vec<T>,
}

impl<T> NonEmpty<T> {
    /// A list of one.
    #[must_use]
    pub fn one(first: T) -> Self {
        Self { first, rest: Vec::new() }
    }

    /// The list, unless it is empty.
    #[must_use]
    pub fn from_vec(list: Vec<T>) -> Option<Self> {
        let mut parts = list.into_iter();
        let first = parts.next()?;
        Some(Self { first, rest: parts.collect() })
    }

    /// The first element, which is always there.
    #[must_use]
    pub fn first(&self) -> &T {
        &self.first
    }

    /// All elements in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// How many; at least 1.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rest.len().saturating_add(1)
    }
}

impl<T: serde::Serialize> serde::Serialize for NonEmpty<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<T> From<NonEmpty<T>> for Vec<T> {
    fn from(list: NonEmpty<T>) -> Self {
        std::iter::once(list.first).chain(list.rest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_is_no_value() {
        assert_eq!(NonEmpty::<u8>::from_vec(vec![]), None);
        let list = NonEmpty::from_vec(vec![3, 1, 2]).unwrap();
        assert_eq!((list.count(), *list.first()), (3, 3));
        assert_eq!(Vec::from(list), [3, 1, 2]);
    }
}
