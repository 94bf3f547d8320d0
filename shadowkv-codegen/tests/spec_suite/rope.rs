//! Frequency tables against numbers of other implementations.

use serde_json::Value;
use shadowkv_codegen::spec::Spec;

use crate::pairs;

/// The tables are exact to the rounding to `f32`.
fn close(actual: f32, expected: f64, digits: f64) -> bool {
    (f64::from(actual) - expected).abs() <= digits * expected.abs()
}

/// `spec_rope/*.json`: frequencies computed in double precision from the published code's definition.
#[test]
fn tables_match_the_reference() {
    let folder = pairs::folder("spec_rope");
    for stem in pairs::stems(&folder, "json") {
        let text = std::fs::read_to_string(folder.join(format!("{stem}.json"))).unwrap();
        let case: Value = serde_json::from_str(&text).unwrap();
        let spec = Spec::parse(&stem, &case["spec"].to_string(), &[])
            .unwrap_or_else(|e| panic!("{}", e.render(false)));
        let tables = spec.rope.tables();
        let expected = case["inverse_frequencies"].as_array().unwrap();
        assert_eq!(tables.inverse_frequencies.len(), expected.len(), "{stem}");
        for (table, expected) in tables.inverse_frequencies.iter().zip(expected) {
            let expected = expected.as_array().unwrap();
            assert_eq!(table.len(), expected.len(), "{stem}");
            for (i, (actual, expected)) in table.iter().zip(expected).enumerate() {
                let expected = expected.as_f64().unwrap();
                assert!(
                    close(*actual, expected, 6.1e-8),
                    "{stem}[{i}]: {actual} is not {expected}"
                );
            }
        }
        let factor = case["attention_factor"].as_f64().unwrap();
        assert!(
            close(tables.attention_factor, factor, 1.2e-7),
            "{stem}: {} is not {factor}",
            tables.attention_factor
        );
    }
}

/// Ten digits of the shipped models' frequencies at `i = 0, 1, n/4, n/2, 3n/4, n - 1`.
const FREQUENCIES: [(&str, usize, [f64; 6]); 8] = [
    (
        "llama-3.1-8b",
        0,
        [
            1.0,
            8.146_172_339e-1,
            3.760_603_093e-2,
            5.248_461_610e-4,
            6.647_869_871e-6,
            3.068_925_989e-7,
        ],
    ),
    (
        "llama-3-8b-1m",
        0,
        [
            1.0,
            7.091_208_650e-1,
            4.088_125_558e-3,
            1.671_277_058e-5,
            6.832_390_454e-8,
            3.938_915_271e-10,
        ],
    ),
    (
        "glm4",
        0,
        [1.0, 5.623_413_252e-1, 1e-2, 1e-4, 1e-6, 1.778_279_410e-8],
    ),
    (
        "yi-9b-200k",
        0,
        [
            1.0,
            7.773_650_302e-1,
            1.778_279_410e-2,
            3.162_277_660e-4,
            5.623_413_252e-6,
            1.286_396_945e-7,
        ],
    ),
    (
        "qwen2-7b-128k",
        0,
        [
            1.0,
            8.058_421_878e-1,
            3.162_277_660e-2,
            6.029_411_765e-4,
            7.905_694_150e-6,
            3.102_344_402e-7,
        ],
    ),
    (
        "phi3-mini-128k",
        0,
        [
            9.090_909_091e-1,
            7.503_674_412e-1,
            5e-2,
            5e-3,
            4.444_444_444e-4,
            3.972_221_832e-5,
        ],
    ),
    (
        "phi3-mini-128k",
        1,
        [
            9.345_793_934e-1,
            7.369_680_194e-1,
            1.007_049_314e-2,
            1.863_585_279e-4,
            1.566_479_968e-5,
            1.870_796_199e-6,
        ],
    ),
    (
        "smollm2-135m",
        0,
        [
            1.0,
            6.978_305_849e-1,
            5.623_413_252e-2,
            3.162_277_660e-3,
            1.778_279_410e-4,
            1.433_012_570e-5,
        ],
    ),
];

#[test]
fn shipped_models_have_their_frequencies() {
    for (name, index, expected) in FREQUENCIES {
        let spec = Spec::load(pairs::model_specs().join(format!("{name}.yaml")), &[]).unwrap();
        let table = &spec.rope.tables().inverse_frequencies[index];
        let n = table.len();
        assert_eq!(n, spec.rope.rotary_dim as usize / 2);
        for (i, expected) in [0, 1, n / 4, n / 2, 3 * n / 4, n - 1]
            .into_iter()
            .zip(expected)
        {
            assert!(
                close(table[i], expected, 6.2e-8),
                "{name} table {index}[{i}]: {} is not {expected}",
                table[i]
            );
        }
    }
}

#[test]
fn factors_on_cosine_and_sine() {
    for (name, expected) in [
        ("qwen2-7b-128k", 1.138_629_436),
        ("phi3-mini-128k", 1.190_238_071),
        ("glm4", 1.0),
        ("llama-3.1-8b", 1.0),
    ] {
        let spec = Spec::load(pairs::model_specs().join(format!("{name}.yaml")), &[]).unwrap();
        assert!(
            close(spec.rope.tables().attention_factor, expected, 1e-7),
            "{name}"
        );
    }
}

/// Llama 3.1 keeps 29 frequencies, divides 29 by 8 and mixes 6.
#[test]
fn llama3_bands() {
    let load = |sets: &[&str]| {
        let overrides: Vec<_> = sets.iter().map(|set| set.parse().unwrap()).collect();
        Spec::load(pairs::model_specs().join("llama-3.1-8b.yaml"), &overrides)
            .unwrap()
            .rope
            .tables()
    };
    let (scaled, plain) = (load(&[]), load(&["rope.scaling={kind: none}"]));
    let ratio = |(s, p): (&f32, &f32)| p / s;
    let ratios: Vec<f32> = scaled.inverse_frequencies[0]
        .iter()
        .zip(&plain.inverse_frequencies[0])
        .map(ratio)
        .collect();
    let count = |wanted: f32| {
        ratios
            .iter()
            .filter(|ratio| (*ratio - wanted).abs() < 1e-5)
            .count()
    };
    assert_eq!((count(1.0), count(8.0)), (29, 29));
}
