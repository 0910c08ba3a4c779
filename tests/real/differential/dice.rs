//! Chance that can be had again: the same seed gives the same throws.

/// A splitmix64 generator.
pub(super) struct Dice {
    state: u64,
    number: u32,
}

impl Dice {
    /// Of a family of scenarios and the number within it.
    pub(super) fn new(family: &str, number: u32) -> Self {
        let hash = family
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self { state: hash ^ (u64::from(number) << 17), number }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number between two, both possible.
    pub(super) fn between(&mut self, least: u32, most: u32) -> u32 {
        let width = u64::from(most - least) + 1;
        least + u32::try_from(self.next() % width).unwrap_or(0)
    }

    /// Whose turn it is of so many: what every scenario of a family shall have in turn is not left to chance.
    pub(super) fn turn(&self, of: u32) -> u32 {
        self.number % of
    }

    /// True in so many of a hundred cases.
    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.between(1, 100) <= percent
    }

    /// One of them.
    pub(super) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        let last = u32::try_from(all.len() - 1).unwrap_or(0);
        all[self.between(0, last) as usize]
    }
}
