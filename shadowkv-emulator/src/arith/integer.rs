//! temporary
use super::{Lanes32, Lanes64};
macro_rules! two {
    ($n:ident, $f:expr) => {
        #[inline(always)]
        pub fn $n(a: &Lanes32, b: &Lanes32) -> Lanes32 {
            let mut d = [0; 32];
            let f = $f;
            for i in 0..32 {
                d[i] = f(a[i], b[i]);
            }
            d
        }
    };
}
macro_rules! two64 {
    ($n:ident, $f:expr) => {
        #[inline(always)]
        pub fn $n(a: &Lanes64, b: &Lanes64) -> Lanes64 {
            let mut d = [0; 32];
            let f = $f;
            for i in 0..32 {
                d[i] = f(a[i], b[i]);
            }
            d
        }
    };
}
macro_rules! three {
    ($n:ident, $f:expr) => {
        #[inline(always)]
        pub fn $n(a: &Lanes32, b: &Lanes32, c: &Lanes32) -> Lanes32 {
            let mut d = [0; 32];
            let f = $f;
            for i in 0..32 {
                d[i] = f(a[i], b[i], c[i]);
            }
            d
        }
    };
}
two!(div_s32, |a: u32, b: u32| if b == 0 {
    u32::MAX
} else {
    (a as i32).wrapping_div(b as i32) as u32
});
two!(div_u32, |a: u32, b: u32| a
    .checked_div(b)
    .unwrap_or(u32::MAX));
two!(rem_s32, |a: u32, b: u32| if b == 0 {
    a
} else {
    (a as i32).wrapping_rem(b as i32) as u32
});
two!(rem_u32, |a: u32, b: u32| a.checked_rem(b).unwrap_or(a));
two64!(div_s64, |a: u64, b: u64| if b == 0 {
    u64::MAX
} else {
    (a as i64).wrapping_div(b as i64) as u64
});
two64!(div_u64, |a: u64, b: u64| a
    .checked_div(b)
    .unwrap_or(u64::MAX));
two64!(rem_s64, |a: u64, b: u64| if b == 0 {
    a
} else {
    (a as i64).wrapping_rem(b as i64) as u64
});
two64!(rem_u64, |a: u64, b: u64| a.checked_rem(b).unwrap_or(a));
two!(mul24_lo, |a: u32, b: u32| (a & 0xffffff)
    .wrapping_mul(b & 0xffffff));
three!(bfe_u32, |a: u32, b: u32, c: u32| {
    let p = b & 255;
    let l = c & 255;
    if p > 31 || l == 0 {
        0
    } else {
        let v = a >> p;
        if l >= 32 { v } else { v & ((1 << l) - 1) }
    }
});
three!(bfe_s32, |a: u32, b: u32, c: u32| {
    let p = b & 255;
    let l = (c & 255).min(32);
    if l == 0 {
        0
    } else {
        let p = p.min(31);
        let l = l.min(32 - p);
        ((a << (32 - p - l)) as i32 >> (32 - l)) as u32
    }
});
three!(prmt_b32, |a: u32, b: u32, c: u32| {
    let v = u64::from(a) | u64::from(b) << 32;
    let mut r = 0u32;
    for i in 0..4 {
        let s = c >> (4 * i) & 15;
        let byte = (v >> ((s & 7) * 8)) as u8;
        let byte = if s & 8 != 0 {
            ((byte as i8) >> 7) as u8
        } else {
            byte
        };
        r |= u32::from(byte) << (8 * i);
    }
    r
});
three!(sad_s32, |a: u32, b: u32, c: u32| c
    .wrapping_add((a as i32).abs_diff(b as i32)));
three!(sad_u32, |a: u32, b: u32, c: u32| c
    .wrapping_add(a.abs_diff(b)));
#[inline(always)]
pub fn lop3_b32(a: &Lanes32, b: &Lanes32, c: &Lanes32, t: u8) -> Lanes32 {
    let mut d = [0; 32];
    for i in 0..32 {
        let mut r = 0u32;
        for k in 0..8u32 {
            if t >> k & 1 == 1 {
                let x = if k & 4 != 0 { a[i] } else { !a[i] };
                let y = if k & 2 != 0 { b[i] } else { !b[i] };
                let z = if k & 1 != 0 { c[i] } else { !c[i] };
                r |= x & y & z;
            }
        }
        d[i] = r;
    }
    d
}
#[inline(always)]
pub fn bfi_b32(a: &Lanes32, b: &Lanes32, p: &Lanes32, l: &Lanes32) -> Lanes32 {
    let mut d = [0; 32];
    for i in 0..32 {
        let p = p[i] & 255;
        let l = (l[i] & 255).min(32);
        let m = (((1u64 << l) - 1) << p.min(63)) as u32;
        let m = if p > 31 { 0 } else { m };
        d[i] = b[i] & !m | ((u64::from(a[i]) << p.min(63)) as u32) & m;
    }
    d
}
#[inline(always)]
pub fn bfi_b64(a: &Lanes64, b: &Lanes64, p: &Lanes32, l: &Lanes32) -> Lanes64 {
    let mut d = [0; 32];
    for i in 0..32 {
        let p = p[i] & 255;
        let l = (l[i] & 255).min(64);
        let m = if p > 63 {
            0
        } else {
            (((1u128 << l) - 1) << p) as u64
        };
        d[i] = b[i] & !m | (if p > 63 { 0 } else { a[i] << p }) & m;
    }
    d
}
#[inline(always)]
pub fn bfe_u64(a: &Lanes64, p: &Lanes32, l: &Lanes32) -> Lanes64 {
    let mut d = [0; 32];
    for i in 0..32 {
        let p = p[i] & 255;
        let l = l[i] & 255;
        d[i] = if p > 63 || l == 0 {
            0
        } else if l >= 64 {
            a[i] >> p
        } else {
            a[i] >> p & ((1 << l) - 1)
        };
    }
    d
}
#[inline(always)]
pub fn bfe_s64(a: &Lanes64, _p: &Lanes32, _l: &Lanes32) -> Lanes64 {
    *a
}
#[inline(always)]
pub fn shf_l_b32(a: &Lanes32, b: &Lanes32, c: &Lanes32, clamp: bool) -> Lanes32 {
    let mut d = [0; 32];
    for i in 0..32 {
        let s = if clamp { c[i].min(32) } else { c[i] & 31 };
        let v = u64::from(b[i]) << 32 | u64::from(a[i]);
        d[i] = ((v << s) >> 32) as u32;
    }
    d
}
#[inline(always)]
pub fn shf_r_b32(a: &Lanes32, b: &Lanes32, c: &Lanes32, clamp: bool) -> Lanes32 {
    let mut d = [0; 32];
    for i in 0..32 {
        let s = if clamp { c[i].min(32) } else { c[i] & 31 };
        let v = u64::from(b[i]) << 32 | u64::from(a[i]);
        d[i] = (v >> s) as u32;
    }
    d
}
#[inline(always)]
pub fn bfind_u32(a: &Lanes32, shift: bool) -> Lanes32 {
    a.map(|a| {
        if a == 0 {
            u32::MAX
        } else if shift {
            a.leading_zeros()
        } else {
            31 - a.leading_zeros()
        }
    })
}
#[inline(always)]
pub fn bfind_s32(a: &Lanes32, shift: bool) -> Lanes32 {
    a.map(|a| {
        let a = if (a as i32) < 0 { !a } else { a };
        if a == 0 {
            u32::MAX
        } else if shift {
            a.leading_zeros()
        } else {
            31 - a.leading_zeros()
        }
    })
}
#[inline(always)]
pub fn dp4a(a: &Lanes32, _b: &Lanes32, _c: &Lanes32, _x: bool, _y: bool) -> Lanes32 {
    *a
}
