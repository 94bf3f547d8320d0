//! Installing NVRTC into our cache when the machine has none: one pinned version, two libraries and the licence.

use std::path::PathBuf;

use crate::cache::Cache;
pub use crate::wheel::{
    Attempt, InstallOptions, Installer, Package, Pinned, Progress, Wheel, WheelError,
};

/// The one version that is installed: compiles for `sm_50` to `sm_121`, runs with every CUDA 12 or 13 driver.
pub static PACKAGE: Package = Package {
    title: "NVRTC",
    name: "nvidia-cuda-nvrtc-cu12",
    version: "12.9.86",
    megabytes: 90,
    folder: "nvrtc",
    program: false,
    platforms: "Linux on x86_64 and aarch64",
    alternative: "set SHADOWKV_NVRTC to an NVRTC of your own: the library or its folder `nvidia/cuda_nvrtc/lib`",
    wheels: &[
        Wheel {
            machine: Some("x86_64"),
            sha256: "210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4",
            members: &[
                (
                    LIBRARY,
                    "7c67c6b51ea0e0279634cebd676ff7efda1674806444520c84430ad5c35fe625",
                ),
                (
                    BUILTINS,
                    "6507cf33450cfb22970c2c1e7aa8e7c0a33e39d864720277b05f61a92791e2e8",
                ),
                (
                    LICENCE,
                    "ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd",
                ),
            ],
        },
        Wheel {
            machine: Some("aarch64"),
            sha256: "096d4de6bda726415dfaf3198d4f5c522b8e70139c97feef5cd2ca6d4cd9cead",
            members: &[
                (
                    LIBRARY,
                    "3a599a1649813776e6852024ba6c3a2fc291a0eab61745864261aa449f8d2b7d",
                ),
                (
                    BUILTINS,
                    "fa791107a53e7e38bbcf28cd8223c62bd91445227634537d1e71a4b3cbd6920d",
                ),
                (
                    LICENCE,
                    "ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd",
                ),
            ],
        },
    ],
};

const LIBRARY: &str = "nvidia/cuda_nvrtc/lib/libnvrtc.so.12";
const BUILTINS: &str = "nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.9";
const LICENCE: &str = "nvidia_cuda_nvrtc_cu12-12.9.86.dist-info/licenses/License.txt";

/// The wheel for this machine, its first file the NVRTC library; `None` where there is none.
pub fn pinned() -> Option<Pinned> {
    PACKAGE.pinned()
}

/// Installs the pinned wheel into `cache` unless a good copy is there; returns its folder.
///
/// # Errors
/// [`WheelError`]; each kind says what to do.
pub fn install(
    cache: &Cache,
    options: &InstallOptions,
    progress: &dyn Fn(&Progress),
) -> Result<PathBuf, WheelError> {
    PACKAGE.install(cache, options, progress)
}
