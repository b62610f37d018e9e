//! The Rust text that embeds sources and machine code.

use std::env;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

const NONE: &str = "pub(super) static ALL: [&crate::driver::KernelImage; 0] = [];\n";
/// The driver reads machine code in words.
const ALIGNED: &str = "
#[repr(align(64))]
struct Aligned<T: ?Sized>(T);
";

/// One static per kernel file, named as the file in capitals, and `ALL` of them.
pub(crate) fn render(
    kernels: &[PathBuf],
    headers: &[PathBuf],
    objects: &[Option<PathBuf>],
) -> Result<String, Failure> {
    if kernels.is_empty() {
        return Ok(NONE.to_owned());
    }
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let mut text = String::from("use crate::driver::{KernelHeader, KernelImage};\n\n");
    writeln!(
        text,
        "static HEADERS: [KernelHeader; {}] = [",
        headers.len()
    )?;
    for header in headers {
        let name = name_of(header)?;
        let file = root.join(header);
        writeln!(
            text,
            "    KernelHeader {{ name: \"include/{name}\", source: include_str!({file:?}) }},"
        )?;
    }
    text.push_str("];\n");
    if objects.iter().any(Option::is_some) {
        text.push_str(ALIGNED);
    }
    let mut all = String::new();
    for (kernel, object) in kernels.iter().zip(objects) {
        let name = name_of(kernel)?;
        let stem = name.trim_end_matches(".cu");
        let file = root.join(kernel);
        let upper = stem.to_uppercase();
        let fatbin = match object {
            Some(_) => format!("Some(&{upper}_CODE.0)"),
            None => "None".to_owned(),
        };
        if let Some(object) = object {
            writeln!(
                text,
                "static {upper}_CODE: &Aligned<[u8]> = &Aligned(*include_bytes!({object:?}));"
            )?;
        }
        writeln!(
            text,
            "pub(super) static {upper}: KernelImage = KernelImage {{"
        )?;
        writeln!(text, "    name: {stem:?},")?;
        writeln!(text, "    source: include_str!({file:?}),")?;
        writeln!(text, "    headers: &HEADERS,\n    fatbin: {fatbin},\n}};")?;
        write!(all, "&{upper}, ")?;
    }
    writeln!(
        text,
        "pub(super) static ALL: [&KernelImage; {}] = [{all}];",
        kernels.len()
    )?;
    Ok(text)
}

fn name_of(path: &Path) -> Result<&str, Failure> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.ok_or_else(|| Failure(format!("{} is not named in UTF-8", path.display())))
}
