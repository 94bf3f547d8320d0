use shadowkv_codegen::{BuildError, Builder};

fn main() -> Result<(), BuildError> {
    // Binaries for the GPUs that we have, and PTX for the emulated one.
    Builder::new()
        .spec("small-model.yaml")
        .kernels(["landmark_score", "select_chunks", "sparse_attention"])
        .arch("sm_80")
        .arch("sm_90")
        .emit_cubin(true)
        .emit_ptx(true)
        .generate()?;
    // The same from sources: nothing is compiled before the program runs.
    Builder::new()
        .spec("small-model.yaml")
        .set("name=small-model-sources")
        .kernels(["landmark_score", "select_chunks", "sparse_attention"])
        .generate()?;
    Ok(())
}
