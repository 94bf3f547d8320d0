//! A package that a build script generated, as a module of the program.

/// Includes the package that `shadowkv_codegen::Builder` generated from the spec called `$name` in the build script: its
/// constants, its typed launchers, and the package itself.
///
/// What comes, in the module where it stands:
///
/// * a `pub const` for each value of the spec that kernels are specialised for, such as `HEAD_DIM` and `CHUNK_SIZE`;
/// * for each kernel an argument struct, a struct of the sizes that its grid depends on, and an unsafe function that launches
///   it through a [`Launch`](crate::launch::Launch), such as a `gpu::Launcher`;
/// * `FILES`, the package's files: manifest, sources, and the binaries that the builder was asked for;
/// * `package()`, the [`Package`](crate::package::Package) of them. Its images come from the embedded binaries, and where
///   there is none for the device, from the cache or from NVRTC.
///
/// ```ignore
/// mod my_model {
///     shadowkv_runtime::include_package!("my-model");
/// }
///
/// let package = my_model::package()?;
/// println!("{} tokens per chunk", my_model::CHUNK_SIZE);
/// ```
#[macro_export]
macro_rules! include_package {
    ($name:literal) => {
        ::core::include!(::core::concat!(::core::env!("OUT_DIR"), "/", $name, ".rs"));
    };
}
