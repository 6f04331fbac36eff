//! Turns compiled `.proto` files into the text of the generated files.

use std::{cell::RefCell, collections::BTreeMap, path::PathBuf, rc::Rc};

use prost_build::Module;
use prost_types::FileDescriptorSet;

use crate::{Error, Generated, limits};

/// The file that joins all packages into one module tree.
pub(crate) const TREE: &str = "contracts.rs";

/// Switches off all lints for generated code, whatever the surrounding crate sets.
const ALLOW: &str = "#[allow(warnings, missing_docs, unreachable_pub, missing_debug_implementations)]\n\
                     #[allow(clippy::all, clippy::pedantic, rustdoc::all)]\n";

/// Generates code and a descriptor set for each package, and the module tree.
pub(crate) fn all(
    compiler: &protox::Compiler,
    includes: &[PathBuf],
) -> Result<Vec<Generated>, Error> {
    let set = compiler.file_descriptor_set();
    let code = code(set.clone())?;
    let mut files = vec![Generated { name: TREE.into(), contents: tree(code.keys()).into_bytes() }];
    for (module, mut code) in code {
        let stem = stem(&module);
        code.push_str(&format!(
            "/// The encoded file descriptor set of this package and its imports: for reflection.\n\
             pub const DESCRIPTORS: &[u8] = include_bytes!(\"{stem}.bin\");\n"
        ));
        let descriptors = descriptors(&set, &module, includes)?;
        files.push(Generated { name: format!("{stem}.bin"), contents: descriptors });
        files.push(Generated { name: format!("{stem}.rs"), contents: code.into_bytes() });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Generates messages with prost, and clients and servers with tonic.
fn code(set: FileDescriptorSet) -> Result<BTreeMap<Module, String>, Error> {
    let failure = Rc::new(RefCell::new(None));
    let stubs = Stubs {
        // Without transport, the client has no `connect`: a plugin's channel comes from its host.
        tonic: tonic_prost_build::configure().build_transport(false).service_generator(),
        failure: failure.clone(),
    };
    let requests = set
        .file
        .into_iter()
        .map(|file| (Module::from_protobuf_package_name(file.package()), file))
        .collect();
    let code = prost_build::Config::new()
        // A `bytes` field becomes a slice of the receive buffer, not a copy.
        .bytes(["."])
        .service_generator(Box::new(stubs))
        .generate(requests)
        .map_err(Error::Generate)?;
    match failure.take() {
        Some(failure) => Err(failure),
        None => Ok(code.into_iter().collect()),
    }
}

/// tonic's generator with higher message limits. The trait's methods cannot fail, so the first error is stored.
struct Stubs {
    tonic: Box<dyn prost_build::ServiceGenerator>,
    failure: Rc<RefCell<Option<Error>>>,
}

impl prost_build::ServiceGenerator for Stubs {
    fn generate(&mut self, service: prost_build::Service, buf: &mut String) {
        let name = service.proto_name.clone();
        let mut code = String::new();
        self.tonic.generate(service, &mut code);
        match limits::raise(&code) {
            Ok(code) => buf.push_str(&code),
            Err(reason) => {
                self.failure.borrow_mut().get_or_insert(Error::Codegen { service: name, reason });
            }
        }
    }

    fn finalize(&mut self, buf: &mut String) {
        self.tonic.finalize(buf);
    }

    fn finalize_package(&mut self, package: &str, buf: &mut String) {
        self.tonic.finalize_package(package, buf);
    }
}

/// Encodes a package's files and all their imports, without comments. protox does the encoding, because prost's types
/// would lose custom options.
fn descriptors(
    set: &FileDescriptorSet,
    module: &Module,
    includes: &[PathBuf],
) -> Result<Vec<u8>, Error> {
    let files = set
        .file
        .iter()
        .filter(|file| Module::from_protobuf_package_name(file.package()) == *module)
        .map(|file| file.name());
    let mut compiler = protox::Compiler::new(includes)?;
    compiler.include_source_info(false).include_imports(true).open_files(files)?;
    Ok(compiler.encode_file_descriptor_set())
}

/// Generates modules that are nested like the package names, because the code of one package refers to other packages
/// by relative paths.
fn tree<'a>(modules: impl Iterator<Item = &'a Module>) -> String {
    let mut text = String::new();
    let mut open: Vec<&str> = Vec::new();
    for module in modules {
        let parts: Vec<&str> = module.parts().collect();
        while !parts.starts_with(&open) {
            open.pop();
            line(&mut text, open.len(), "}");
        }
        for part in &parts[open.len()..] {
            if open.is_empty() {
                text.push_str(ALLOW);
            }
            line(&mut text, open.len(), &format!("pub mod {part} {{"));
            open.push(part);
        }
        line(&mut text, open.len(), &format!("include!(\"{}.rs\");", stem(module)));
    }
    for depth in (0..open.len()).rev() {
        line(&mut text, depth, "}");
    }
    text
}

fn line(text: &mut String, depth: usize, line: &str) {
    text.push_str(&"    ".repeat(depth));
    text.push_str(line);
    text.push('\n');
}

/// Returns the name of a package's files. It is the package's own name, as `tonic::include_proto!` expects.
fn stem(module: &Module) -> String {
    let name = module.to_file_name_or("_");
    name.strip_suffix(".rs").unwrap_or(&name).to_owned()
}
