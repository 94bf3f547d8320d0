//! dump
fn main() {
    let mut args = std::env::args().skip(1);
    let out = std::path::PathBuf::from(args.next().unwrap());
    for path in args {
        let spec = shadowkv_codegen::spec::Spec::load(std::path::Path::new(&path), &[]).unwrap_or_else(|e| panic!("{e}"));
        let limits = shadowkv_codegen::plan::Limits::portable();
        let mut tiles = serde_json::to_value(shadowkv_codegen::plan::Tiles::heuristic(&spec, &limits)).unwrap();
        if let Ok(t) = std::env::var("TILES") {
            for (k, v) in serde_json::from_str::<serde_json::Value>(&t).unwrap().as_object().unwrap() { for (f, x) in v.as_object().unwrap() { tiles[k][f] = x.clone(); } }
        }
        let tiles = serde_json::from_value(tiles).unwrap();
        let plan = shadowkv_codegen::plan::Plan::new(&spec, &tiles, &limits).unwrap_or_else(|e| panic!("{path}: {e}"));
        let package = shadowkv_codegen::emit::emit(&plan).unwrap_or_else(|e| panic!("{e}"));
        let dir = out.join(std::env::var("NAME").unwrap_or(package.name.clone()));
        std::fs::create_dir_all(&dir).unwrap();
        for file in package.files() { std::fs::write(dir.join(&file.name), &file.text).unwrap(); }
    }
}
