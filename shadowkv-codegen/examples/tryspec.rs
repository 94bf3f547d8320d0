fn main() {
    let a: Vec<String> = std::env::args().collect();
    if a[1] == "schema" {
        println!(
            "{}",
            serde_json::to_string_pretty(&shadowkv_codegen::spec::json_schema()).unwrap()
        );
        return;
    }
    let mut ov = vec![];
    for s in &a[2..] {
        match s.parse() {
            Ok(o) => ov.push(o),
            Err(e) => {
                let e: shadowkv_codegen::spec::SpecError =
                    shadowkv_codegen::spec::OverrideError::into(e);
                println!("{}", e.render(false));
                return;
            }
        }
    }
    match shadowkv_codegen::spec::Spec::load(&a[1], &ov) {
        Ok(s) => println!("{s:#?}\n{}", s.sha256()),
        Err(e) => println!("{}\n--\n{e}", e.render(false)),
    }
}
