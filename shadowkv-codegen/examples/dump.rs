fn main() {
    let mut args = std::env::args().skip(1);
    let out = std::path::PathBuf::from(args.next().unwrap());
    for path in args {
        let t = std::time::Instant::now();
        let spec = shadowkv_codegen::spec::Spec::load(std::path::Path::new(&path), &[]).unwrap_or_else(|e| panic!("{e}"));
        let plan = shadowkv_codegen::plan::Plan::heuristic(&spec).unwrap_or_else(|e| panic!("{path}: {e}"));
        let package = shadowkv_codegen::emit::emit(&plan).unwrap_or_else(|e| panic!("{e}"));
        let dir = out.join(&package.name);
        std::fs::create_dir_all(&dir).unwrap();
        for file in package.files() { std::fs::write(dir.join(&file.name), &file.text).unwrap(); }
        println!("{path}: {:?}", t.elapsed());
    }
}
