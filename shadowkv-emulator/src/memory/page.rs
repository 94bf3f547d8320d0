//! A page of an allocation as one worker sees it, and who touched what of it.

use super::UNIT;

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;
/// Units of a page.
pub(crate) const PAGE_UNITS: usize = (PAGE / UNIT) as usize;

/// Who accessed something: `instruction << 32 | interval << 5 | lane`; see [`super::interval`]. 0 is nobody.
pub(crate) type Tag = u64;

/// Interval of a tag that stands for several that no order relates: any write is a race with one of them.
pub(crate) const EVERYBODY: u32 = (1 << 27) - 1;

/// Interval of a tag.
#[inline(always)]
pub(crate) fn interval_of(tag: Tag) -> u32 {
    (tag as u32) >> 5
}

/// Whether two tags are of one thread in one interval, whatever the instruction.
#[inline(always)]
pub(crate) fn same_thread(a: Tag, b: Tag) -> bool {
    a as u32 == b as u32
}

/// Granularity of tags: the fewer bytes an access has, the finer they must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grain {
    /// 16 bytes.
    Unit = 0,
    /// 4 bytes.
    Word = 1,
    /// 1 byte.
    Byte = 2,
}

impl Grain {
    pub(crate) const ALL: [Grain; 3] = [Grain::Unit, Grain::Word, Grain::Byte];

    /// The coarsest grain that tells an aligned access of `bytes` bytes apart from its neighbours.
    #[inline(always)]
    pub(crate) fn of(bytes: u32) -> Grain {
        match bytes {
            16.. => Grain::Unit,
            4.. => Grain::Word,
            _ => Grain::Byte,
        }
    }

    /// Bytes of a grain as a shift.
    #[inline(always)]
    pub(crate) fn shift(self) -> u32 {
        match self {
            Grain::Unit => 4,
            Grain::Word => 2,
            Grain::Byte => 0,
        }
    }
}

/// Tags of one kind of access, each grain's array only where such accesses happened.
#[derive(Default)]
pub(crate) struct Tags {
    grains: [Option<Box<[Tag]>>; 3],
}

impl Tags {
    /// The array of `grain`, made if it is not there.
    #[inline(always)]
    pub(crate) fn at(&mut self, grain: Grain) -> &mut [Tag] {
        self.grains[grain as usize]
            .get_or_insert_with(|| vec![0; (PAGE >> grain.shift()) as usize].into_boxed_slice())
    }

    /// Whether nothing was ever noted.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.grains.iter().all(Option::is_none)
    }

    /// The array of `grain`, if it is there.
    #[inline(always)]
    pub(crate) fn get(&self, grain: Grain) -> Option<&[Tag]> {
        self.grains[grain as usize].as_deref()
    }
}

/// A page.
pub(crate) struct Page {
    /// Private contents, once written.
    pub(crate) data: Option<Box<[u8]>>,
    /// Bytes written in this launch.
    pub(crate) written: Box<[u16; PAGE_UNITS]>,
    /// Bytes read in this launch.
    pub(crate) read: Box<[u16; PAGE_UNITS]>,
    pub(crate) readers: Tags,
    pub(crate) writers: Tags,
    /// Bytes that atomics touched: among themselves they do not race.
    pub(crate) atomics: Option<Box<Tags>>,
}

impl Page {
    pub(crate) fn new() -> Page {
        Page {
            data: None,
            written: Box::new([0; PAGE_UNITS]),
            read: Box::new([0; PAGE_UNITS]),
            readers: Tags::default(),
            writers: Tags::default(),
            atomics: None,
        }
    }
}
