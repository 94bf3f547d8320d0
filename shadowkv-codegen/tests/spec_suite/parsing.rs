//! What good specs mean.

use shadowkv_codegen::spec::{LongRopeTable, Override, RopeLayout, RopeScaling, Spec};

const SMALL: &str = "\
name: small
attention: { head_dim: 64, kv_heads: 2, gqa_ratio: 4 }
rope: { base: 10000 }
shadowkv: { rank: 32, chunk_size: 16 }
";

fn parse(text: &str, sets: &[&str]) -> Spec {
    let overrides: Vec<Override> = sets.iter().map(|set| set.parse().unwrap()).collect();
    match Spec::parse("small.yaml", text, &overrides) {
        Ok(spec) => spec,
        Err(error) => panic!("{}", error.render(false)),
    }
}

#[test]
fn defaults_are_those_documented() {
    let spec = parse(SMALL, &[]);
    assert_eq!(spec.rope.layout, RopeLayout::HalfSplit);
    assert_eq!(
        (spec.rope.rotary_dim, spec.rope.max_position),
        (64, 131_072)
    );
    assert_eq!(spec.rope.scaling, RopeScaling::None);
    let s = spec.shadowkv;
    assert_eq!(
        (
            s.sparse_budget,
            s.outlier_chunks,
            s.local_chunks,
            s.generated_window
        ),
        (2048, 48, 4, 128)
    );
    assert_eq!((s.selected_chunks(), s.resident_chunks), (128, 256));
    assert!(spec.decoder.is_none());
}

#[test]
fn json_is_yaml() {
    let json = r#"{"name":"small","attention":{"head_dim":64,"kv_heads":2,"gqa_ratio":4},"rope":{"base":1e4},"shadowkv":{"rank":32,"chunk_size":16}}"#;
    assert_eq!(parse(json, &[]), parse(SMALL, &[]));
}

#[test]
fn overrides_set_values_and_make_blocks() {
    let spec = parse(
        SMALL,
        &[
            "shadowkv.rank=48",
            "rope.scaling.kind=none",
            "shadowkv.storage.values=bf16",
            "rope.rotary_dim = 32",
        ],
    );
    assert_eq!((spec.shadowkv.rank, spec.rope.rotary_dim), (48, 32));
    let yarn = "rope.scaling={kind: yarn, factor: 4, original_max_position: 32768}";
    let RopeScaling::Yarn {
        attention_factor,
        beta_fast,
        ..
    } = parse(SMALL, &[yarn]).rope.scaling
    else {
        panic!("not yarn")
    };
    assert!((attention_factor - 1.138_629_436_111_989_2).abs() < 1e-15);
    assert!((beta_fast - 32.0).abs() < f64::EPSILON);
    assert_eq!(
        parse(SMALL, &["shadowkv.rank=48", "shadowkv.rank=64"])
            .shadowkv
            .rank,
        64
    );
}

#[test]
fn a_longrope_table_can_be_forced() {
    let scaling = "rope.scaling={kind: longrope, short_factor: [1, 1], long_factor: [2, 2], original_max_position: 4096, force: long}";
    let spec = parse(SMALL, &["rope.rotary_dim=4", scaling]);
    let RopeScaling::LongRope {
        force,
        attention_factor,
        ..
    } = spec.rope.scaling
    else {
        panic!("not longrope")
    };
    assert_eq!(force, Some(LongRopeTable::Long));
    assert!((attention_factor - (17.0_f64 / 12.0).sqrt()).abs() < 1e-15);
    assert_eq!(
        parse(SMALL, &["rope.rotary_dim=4", scaling])
            .rope
            .tables()
            .inverse_frequencies
            .len(),
        2
    );
}

#[test]
fn the_hash_is_of_the_meaning() {
    let spelled_out = "\
# a comment
name: \"small\"
description: changes nothing
shadowkv:
  sparse_budget: 2_048
  chunk_size: 0x10
  rank: 32
  storage: {}
rope:
  base: 1.0e+4
  rotary_dim: 64
attention:
    gqa_ratio: 4
    kv_heads: 2
    head_dim: 64
"
    .replace("2_048", "2048");
    let hash = parse(SMALL, &[]).sha256();
    assert_eq!(hash.len(), 64);
    assert!(
        hash.bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    );
    assert_eq!(parse(&spelled_out, &[]).sha256(), hash);
    assert_eq!(parse(&SMALL.replace('\n', "\r\n"), &[]).sha256(), hash);
    assert_eq!(parse(&format!("\u{feff}{SMALL}"), &[]).sha256(), hash);
    assert_ne!(parse(SMALL, &["shadowkv.rank=48"]).sha256(), hash);
}
