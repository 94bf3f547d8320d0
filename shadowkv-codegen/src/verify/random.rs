//! Seeded numbers: the same on every machine, whatever ran before.

/// A stream of random numbers (splitmix64: the n-th number is a hash of seed and n).
#[derive(Clone, Debug)]
pub struct Stream {
    state: u64,
}

/// 2^64 over the golden ratio, the step of splitmix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Stream {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Stream {
        Stream { state: seed }
    }

    /// A stream of its own for `purpose`: what one consumer takes does not shift what another gets.
    #[must_use]
    pub fn fork(&self, purpose: &str) -> Stream {
        Stream::new(hash(&[&self.state.to_string(), purpose]))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A whole number below `limit`; 0 if there is none.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The high half of the product is as good as evenly spread for limits far below 2^64.
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// True once in `one_in` times.
    pub fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    /// Mean 0, variance 1, within 3.5 of 0: the sum of four even ones. No function of the C library takes part, whose
    /// last bit may differ between machines.
    pub fn normal(&mut self) -> f64 {
        let bits = self.bits();
        let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
        (sum as f64 / 65_535.0 - 2.0) * 3.0_f64.sqrt()
    }

    /// `count` different numbers below `limit` (all of them if there are fewer), ascending.
    pub fn sample(&mut self, count: usize, limit: usize) -> Vec<usize> {
        let mut wanted = count.min(limit);
        let mut chosen = Vec::with_capacity(wanted);
        for candidate in 0..limit {
            if wanted == 0 {
                break;
            }
            if (self.below((limit - candidate) as u64) as usize) < wanted {
                chosen.push(candidate);
                wanted -= 1;
            }
        }
        chosen
    }

    /// Puts the elements in another order.
    pub fn shuffle<T>(&mut self, elements: &mut [T]) {
        for last in (1..elements.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            elements.swap(last, other);
        }
    }
}

/// A hash of texts (FNV-1a), the same for ever: seeds are made from names.
pub fn hash(texts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for text in texts {
        // The byte that no text holds keeps ("a", "bc") from being ("ab", "c").
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_what_they_always_were() {
        // The published first outputs of splitmix64 for seed 1234567.
        let mut stream = Stream::new(1_234_567);
        assert_eq!(stream.bits(), 6_457_827_717_110_365_317);
        assert_eq!(stream.bits(), 3_203_168_211_198_807_973);
        assert_eq!(hash(&["a"]), hash(&["a"]));
        assert_ne!(hash(&["a", "bc"]), hash(&["ab", "c"]));
        assert_ne!(
            Stream::new(1).fork("keys").bits(),
            Stream::new(1).fork("queries").bits()
        );
    }

    #[test]
    fn numbers_are_spread_as_they_should_be() {
        let mut stream = Stream::new(7);
        let numbers: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = numbers.iter().sum::<f64>() / 20_000.0;
        let variance = numbers.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(
            mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
        let sample = stream.sample(100, 1000);
        assert_eq!(sample.len(), 100);
        assert!(sample.windows(2).all(|pair| pair[0] < pair[1]) && sample[99] < 1000);
        assert_eq!(stream.sample(9, 3), [0, 1, 2]);
        let mut order: Vec<u32> = (0..100).collect();
        stream.shuffle(&mut order);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
