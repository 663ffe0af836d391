//! Sets of evdev codes, as the kernel writes them: bit n is code n.

/// How many key codes the kernel knows: one more than its `KEY_MAX`.
pub const CODES: u16 = 768;

const WORDS: usize = CODES as usize / 64;

/// A set of key codes, axes or LEDs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bits(pub [u64; WORDS]);

impl Bits {
    /// Whether `code` is in the set.
    pub fn has(&self, code: u16) -> bool {
        self.0.get(usize::from(code / 64)).is_some_and(|word| word & mask(code) != 0)
    }

    /// Adds or removes `code`.
    pub fn set(&mut self, code: u16, on: bool) {
        if let Some(word) = self.0.get_mut(usize::from(code / 64)) {
            if on { *word |= mask(code) } else { *word &= !mask(code) }
        }
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// The codes that are in this set and not in `other`, in ascending order.
    pub fn without(self, other: Bits) -> impl Iterator<Item = u16> {
        (0..CODES).filter(move |code| self.has(*code) && !other.has(*code))
    }

    /// The codes in the set, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.without(Bits::default())
    }

    /// The set that sysfs writes as hexadecimal words, the highest first, each as long as a machine word.
    pub fn from_sysfs(text: &str) -> Bits {
        let mut bits = Bits::default();
        for (number, word) in (0_u16..).zip(text.split_ascii_whitespace().rev()) {
            let word = u64::from_str_radix(word, 16).unwrap_or(0);
            for bit in 0..usize::BITS as u16 {
                if word & mask(bit) != 0 {
                    bits.set(number.saturating_mul(usize::BITS as u16).saturating_add(bit), true);
                }
            }
        }
        bits
    }
}

impl FromIterator<u16> for Bits {
    fn from_iter<I: IntoIterator<Item = u16>>(codes: I) -> Bits {
        let mut bits = Bits::default();
        codes.into_iter().for_each(|code| bits.set(code, true));
        bits
    }
}

const fn mask(code: u16) -> u64 {
    1 << (code % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_every_code_of_the_kernel_and_no_other() {
        let mut bits = Bits::default();
        for code in [0, 63, 64, 767] {
            bits.set(code, true);
        }
        bits.set(768, true);
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 63, 64, 767]);
        bits.set(63, false);
        assert_eq!((bits.has(63), bits.has(64), bits.has(768)), (false, true, false));
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn sysfs_writes_the_highest_word_first_and_pads_none() {
        // A laptop's keyboard: the third word from the right holds KEY_MICMUTE (248) and others.
        let bits = Bits::from_sysfs("402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n");
        assert_eq!((bits.has(0), bits.has(1), bits.has(30), bits.has(63)), (false, true, true, true));
        assert_eq!((bits.has(64), bits.has(84), bits.has(128), bits.has(129)), (true, false, true, false));
        assert_eq!((bits.has(192 + 25), bits.has(192 + 34), bits.has(192 + 26)), (true, true, false));
        assert_eq!(Bits::from_sysfs("0\n"), Bits::default());
    }
}
