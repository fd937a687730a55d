//! A vector with holes, addressed by typed keys with a generation.
//!
//! * **Owns:** the values of one kind. **In:** values, keys. **Out:** keys, values.
//! * **Invariant:** a key names what it was made for, or nothing: never what took its slot later, nor a value of
//!   another kind. Nothing is allocated but by [`Slab::insert`].

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

/// Names a value of a [`Slab<T>`].
pub(crate) struct Key<T> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// The slot: of all values that live, no two have the same. For dense tables beside the slab.
    pub(crate) const fn index(self) -> usize {
        self.index as usize
    }

    /// A key for tests of what keeps keys.
    #[cfg(test)]
    pub(crate) const fn of(index: u32, generation: u32) -> Self {
        Self { index, generation, of: PhantomData }
    }

    const fn parts(self) -> (u32, u32) {
        (self.index, self.generation)
    }
}

// Derived, they would ask the same of `T`.
impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl<T> Eq for Key<T> {}

impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}v{}", self.index, self.generation)
    }
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    /// How many values were removed from it. After 2³² of them a key could name a later one.
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, value: T) -> Key<T> {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.value = Some(value);
            return Key { index, generation: slot.generation, of: PhantomData };
        }
        // A shard has no memory for 2³² of anything.
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot { generation: 0, value: Some(value) });
        Key { index, generation: 0, of: PhantomData }
    }

    pub(crate) fn remove(&mut self, key: Key<T>) -> Option<T> {
        let slot = self.slots.get_mut(key.index()).filter(|s| s.generation == key.generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    #[inline]
    pub(crate) fn get(&self, key: Key<T>) -> Option<&T> {
        let slot = self.slots.get(key.index())?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index())?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    /// The key of what is in slot `index`, for walks that change the slab.
    pub(crate) fn key_at(&self, index: usize) -> Option<Key<T>> {
        let slot = self.slots.get(index).filter(|slot| slot.value.is_some())?;
        let generation = slot.generation;
        Some(Key { index: u32::try_from(index).ok()?, generation, of: PhantomData })
    }

    /// One past the highest slot that was ever used.
    pub(crate) fn end(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_nothing_when_its_value_is_gone_though_the_slot_is_used_again() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!((slab.remove(a), slab.key_at(a.index())), (None, None));
        let c = slab.insert('c');
        assert_eq!((c.index(), c == a), (a.index(), false));
        assert_eq!(slab.get(a), None);
        assert_eq!(slab.get_mut(a), None);
        assert_eq!(slab.remove(a), None);
        assert_eq!((slab.get(c), slab.get(b), slab.len()), (Some(&'c'), Some(&'b'), 2));
        assert_eq!((slab.key_at(0), slab.key_at(1), slab.key_at(2)), (Some(c), Some(b), None));
    }
}
