//! A list that lives in place: it never allocates, and a full one says so.

/// At most `N` items, in order.
#[derive(Clone, Debug)]
pub(crate) struct Bounded<T, const N: usize> {
    items: [T; N],
    len: usize,
}

impl<T: Copy, const N: usize> Bounded<T, N> {
    /// Empty; `filler` lies in the unused places.
    pub fn new(filler: T) -> Self {
        Bounded { items: [filler; N], len: 0 }
    }

    pub fn as_slice(&self) -> &[T] {
        self.items.get(..self.len).unwrap_or(&[])
    }

    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self.items.get_mut(..self.len).unwrap_or(&mut [])
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn is_full(&self) -> bool {
        self.len >= N
    }

    /// Puts `item` at the end, if there is room.
    pub fn push(&mut self, item: T) -> bool {
        let Some(place) = self.items.get_mut(self.len) else { return false };
        *place = item;
        self.len = self.len.saturating_add(1);
        true
    }

    /// Takes out the item at `index`; those behind it move up.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        let item = self.as_slice().get(index).copied()?;
        let mut places = self.as_mut_slice().iter_mut().skip(index);
        let mut place = places.next()?;
        for next in places {
            *place = *next;
            place = next;
        }
        self.len = self.len.saturating_sub(1);
        Some(item)
    }

    /// Takes out the last item.
    pub fn pop(&mut self) -> Option<T> {
        let item = self.as_slice().last().copied()?;
        self.len = self.len.saturating_sub(1);
        Some(item)
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Keeps the items that `keep` says, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let mut kept = 0_usize;
        for index in 0..self.len {
            let Some(mut item) = self.items.get(index).copied() else { break };
            if keep(&mut item) {
                if let Some(place) = self.items.get_mut(kept) {
                    *place = item;
                }
                kept = kept.saturating_add(1);
            }
        }
        self.len = kept;
    }
}
