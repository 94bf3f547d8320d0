//! `rope:`: base, layout, rotated part, scaling.

use super::super::limits as l;
use super::super::raw::{RawRope, RawScaling, RawScalingKind as Kind};
use super::super::resolved::{Rope, RopeLayout, RopeScaling};
use super::super::scalar::number;
use super::finding::Findings;

pub(super) fn resolve(raw: RawRope, head_dim: u32, findings: &mut Findings) -> Rope {
    let base_right = findings.number(
        "rope.base",
        raw.base,
        raw.base > 1.0,
        "a finite number greater than 1",
    );
    let rotary_dim = raw.rotary_dim.unwrap_or(head_dim);
    let width_right = rotary(rotary_dim, head_dim, findings);
    let max_position = raw.max_position.unwrap_or(l::DEFAULT_MAX_POSITION);
    let help = "beyond 2^21 positions an angle in f32 is no longer exact enough";
    let position_right =
        findings.within("rope.max_position", max_position, 1, l::MAX_POSITION, help);
    let before = findings.count();
    let scaling = match raw.scaling {
        None => RopeScaling::None,
        Some(scaling) => Scaling {
            raw: scaling,
            max_position,
            findings,
        }
        .resolve(width_right.then_some(rotary_dim)),
    };
    let scaling_right = findings.count() == before;
    let rope = Rope {
        base: raw.base,
        layout: raw.layout.unwrap_or(RopeLayout::HalfSplit),
        rotary_dim,
        max_position,
        scaling,
    };
    if base_right && width_right && position_right && scaling_right {
        largest_angle(&rope, findings);
    }
    rope
}

fn rotary(rotary_dim: u32, head_dim: u32, findings: &mut Findings) -> bool {
    let path = "rope.rotary_dim";
    if !findings.is_written(path) {
        // It is `head_dim`, whose own limits make it even and positive.
        return (l::HEAD_DIM_MIN..=l::HEAD_DIM_MAX).contains(&head_dim)
            && head_dim.is_multiple_of(2);
    }
    if rotary_dim == 0 || !rotary_dim.is_multiple_of(2) {
        findings
            .range(path, format!("`{path}` cannot be {rotary_dim}: elements are rotated in pairs"))
            .allowed(format!("an even number from 2 to `head_dim` = {head_dim}"))
            .help("use the model's `head_dim * partial_rotary_factor`, or remove the key to rotate the whole head");
        return false;
    }
    if rotary_dim > head_dim {
        findings
            .clash(
                path,
                format!("`{path}` of {rotary_dim} is more than the head has"),
            )
            .allowed(format!("an even number from 2 to `head_dim` = {head_dim}"))
            .help("remove the key to rotate the whole head");
        return false;
    }
    true
}

/// The largest angle must still be reduced exactly in f32.
fn largest_angle(rope: &Rope, findings: &mut Findings) {
    let largest = rope
        .exact_tables()
        .into_iter()
        .flatten()
        .fold(0.0, f64::max);
    let angle = f64::from(rope.max_position) * largest;
    if angle > f64::from(l::MAX_POSITION) {
        let most = (f64::from(l::MAX_POSITION) / largest).floor();
        findings
            .clash(
                "rope.max_position",
                format!(
                    "position {} times the highest frequency {} is an angle of {} radians",
                    rope.max_position,
                    number(largest),
                    number(angle)
                ),
            )
            .allowed(format!(
                "angles up to 2^21, so a `max_position` of at most {most} with these factors"
            ))
            .help("check the scaling factors: a factor below 1 raises a frequency");
    }
}

/// Resolves `rope.scaling`.
struct Scaling<'a> {
    raw: RawScaling,
    max_position: u32,
    findings: &'a mut Findings,
}

const PATH: &str = "rope.scaling";
const AT_LEAST_1: &str = "a finite number of at least 1";
const POSITIVE: &str = "a finite number greater than 0";

/// Every field of a scaling block with the kinds that read it.
const FIELDS: [(&str, &[Kind]); 10] = [
    ("factor", &[Kind::Llama3, Kind::Yarn]),
    ("low_freq_factor", &[Kind::Llama3]),
    ("high_freq_factor", &[Kind::Llama3]),
    (
        "original_max_position",
        &[Kind::Llama3, Kind::Yarn, Kind::LongRope],
    ),
    ("beta_fast", &[Kind::Yarn]),
    ("beta_slow", &[Kind::Yarn]),
    ("attention_factor", &[Kind::Yarn, Kind::LongRope]),
    ("short_factor", &[Kind::LongRope]),
    ("long_factor", &[Kind::LongRope]),
    ("force", &[Kind::LongRope]),
];

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::None => "none",
        Kind::Llama3 => "llama3",
        Kind::Yarn => "yarn",
        Kind::LongRope => "longrope",
    }
}

impl Scaling<'_> {
    /// `rotary_dim` is known unless it is wrong itself.
    fn resolve(mut self, rotary_dim: Option<u32>) -> RopeScaling {
        self.refuse_unread();
        match self.raw.kind {
            Kind::None => RopeScaling::None,
            Kind::Llama3 => self.llama3(),
            Kind::Yarn => self.yarn(),
            Kind::LongRope => self.longrope(rotary_dim),
        }
    }

    fn refuse_unread(&mut self) {
        let kind = self.raw.kind;
        for (field, kinds) in FIELDS {
            let path = format!("{PATH}.{field}");
            if kinds.contains(&kind) || !self.findings.is_written(&path) {
                continue;
            }
            let read: Vec<_> = FIELDS
                .iter()
                .filter(|(_, k)| k.contains(&kind))
                .map(|(f, _)| format!("`{f}`"))
                .collect();
            let readers: Vec<_> = kinds
                .iter()
                .map(|kind| format!("`{}`", name(*kind)))
                .collect();
            let allowed = if read.is_empty() {
                "no fields beside `kind`".to_owned()
            } else {
                read.join(", ")
            };
            self.findings
                .unread(
                    &path,
                    format!("scaling `{}` does not read `{field}`", name(kind)),
                )
                .allowed(allowed)
                .help(format!(
                    "remove it; it belongs to {}",
                    readers.join(" and ")
                ));
        }
    }

    /// A field that the kind needs; `fallback` stands in after the problem is noted.
    fn required<T>(&mut self, value: Option<T>, field: &str, fallback: T) -> T {
        value.unwrap_or_else(|| {
            let kind = name(self.raw.kind);
            self.findings
                .missing(
                    &format!("{PATH}.{field}"),
                    format!("missing field `{field}` in `{PATH}` of kind `{kind}`"),
                )
                .help(format!("add `{field}` from the model's `rope_scaling`"));
            fallback
        })
    }

    fn number(&mut self, field: &str, value: f64, right: bool, allowed: &str) -> bool {
        self.findings
            .number(&format!("{PATH}.{field}"), value, right, allowed)
    }

    /// A written multiplier of cosine and sine; it must survive the rounding to f32.
    fn attention_factor(&mut self, factor: f64) {
        let right = (1e-3..=1e3).contains(&factor);
        self.number(
            "attention_factor",
            factor,
            right,
            "a number from 0.001 to 1000",
        );
    }

    fn original(&mut self, least: u32) -> u32 {
        let original = self.required(
            self.raw.original_max_position,
            "original_max_position",
            least,
        );
        let help = "it is the model's `original_max_position_embeddings`";
        self.findings.within(
            &format!("{PATH}.original_max_position"),
            original,
            least,
            l::MAX_POSITION,
            help,
        );
        original
    }

    fn llama3(mut self) -> RopeScaling {
        let factor = self.required(self.raw.factor, "factor", 1.0);
        self.number("factor", factor, factor >= 1.0, AT_LEAST_1);
        let low = self.required(self.raw.low_freq_factor, "low_freq_factor", 1.0);
        let low_right = self.number("low_freq_factor", low, low > 0.0, POSITIVE);
        let high = self.required(self.raw.high_freq_factor, "high_freq_factor", low + 1.0);
        let high_right = self.number("high_freq_factor", high, high > 0.0, POSITIVE);
        if low_right && high_right && low >= high {
            self.findings
                .clash(
                    "rope.scaling.low_freq_factor",
                    format!(
                        "`low_freq_factor` {} is not below `high_freq_factor` {}",
                        number(low),
                        number(high)
                    ),
                )
                .allowed("`low_freq_factor` < `high_freq_factor`")
                .help("Llama 3.1 has 1 and 4");
        }
        let original_max_position = self.original(1);
        RopeScaling::Llama3 {
            factor,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position,
        }
    }

    fn yarn(mut self) -> RopeScaling {
        let factor = self.required(self.raw.factor, "factor", 1.0);
        self.number("factor", factor, factor >= 1.0, AT_LEAST_1);
        let fast = self.raw.beta_fast.unwrap_or(l::DEFAULT_BETA_FAST);
        let fast_right = self.number("beta_fast", fast, fast > 0.0, POSITIVE);
        let slow = self.raw.beta_slow.unwrap_or(l::DEFAULT_BETA_SLOW);
        let slow_right = self.number("beta_slow", slow, slow > 0.0, POSITIVE);
        if fast_right && slow_right && fast <= slow {
            let path = if self.raw.beta_fast.is_some() {
                "rope.scaling.beta_fast"
            } else {
                "rope.scaling.beta_slow"
            };
            self.findings
                .clash(
                    path,
                    format!(
                        "`beta_fast` {} is not above `beta_slow` {}",
                        number(fast),
                        number(slow)
                    ),
                )
                .allowed("`beta_fast` > `beta_slow`")
                .help("the published values are 32 and 1, which are the defaults");
        }
        let original_max_position = self.original(1);
        let attention_factor = self
            .raw
            .attention_factor
            .unwrap_or_else(|| 0.1 * factor.ln() + 1.0);
        if self.raw.attention_factor.is_some() {
            self.attention_factor(attention_factor);
        }
        RopeScaling::Yarn {
            factor,
            original_max_position,
            beta_fast: fast,
            beta_slow: slow,
            attention_factor,
        }
    }

    fn longrope(mut self, rotary_dim: Option<u32>) -> RopeScaling {
        let short_factor = self.factors("short_factor", self.raw.short_factor.clone(), rotary_dim);
        let long_factor = self.factors("long_factor", self.raw.long_factor.clone(), rotary_dim);
        let original_max_position = self.original(1);
        let attention_factor = match self.raw.attention_factor {
            Some(factor) => {
                self.attention_factor(factor);
                factor
            }
            None => self.longrope_attention(original_max_position),
        };
        let force = self.raw.force;
        RopeScaling::LongRope {
            short_factor,
            long_factor,
            original_max_position,
            attention_factor,
            force,
        }
    }

    /// `sqrt(1 + ln(max / original) / ln(original))`, if that is a number.
    fn longrope_attention(&mut self, original: u32) -> f64 {
        let max = self.max_position;
        if self.raw.original_max_position.is_some() && (original < 2 || original >= max) {
            self.findings
                .clash(
                    "rope.scaling.original_max_position",
                    format!("no attention factor follows from {original} original positions and `rope.max_position` {max}"),
                )
                .allowed(format!("2 to {}, or an `attention_factor` of its own", max.saturating_sub(1)))
                .help("give `attention_factor`, or check `rope.max_position`");
        }
        let (max, original) = (f64::from(max), f64::from(original));
        (1.0 + (max / original).ln() / original.ln()).sqrt()
    }

    fn factors(
        &mut self,
        field: &str,
        list: Option<Vec<f64>>,
        rotary_dim: Option<u32>,
    ) -> Vec<f64> {
        let path = format!("{PATH}.{field}");
        let Some(list) = list else {
            return self.required(None, field, Vec::new());
        };
        if let Some(width) = rotary_dim
            && list.len() != width as usize / 2
        {
            self.findings
                .clash(&path, format!("`{path}` has {} numbers", list.len()))
                .allowed(format!(
                    "`rotary_dim / 2` = {} numbers, one per rotated pair",
                    width / 2
                ))
                .help("copy the whole list from the model's `rope_scaling`");
        }
        for (i, factor) in list.iter().enumerate() {
            self.number(&format!("{field}[{i}]"), *factor, *factor > 0.0, POSITIVE);
        }
        list
    }
}
