//! Which other crates stand in the public signatures of `plugwire` and `plugwire-process`, read from its sources with syn.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use plugwire_interop::go::root;
use syn::visit_mut::{self, VisitMut};
use syn::{ImplItem, Item, Type, UseTree, Visibility};

use super::markdown::rust_sources;

/// Returns each foreign crate, with one file in which a public signature names it.
pub(crate) fn foreign_crates() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    // plugwire re-exports types of plugwire-process.
    for package in ["rust/plugwire/src", "rust/plugwire-process/src"] {
        let sources = root().join(package);
        for path in rust_sources(&sources) {
            let inside = path.strip_prefix(&sources);
            let Some(file) = inside.ok().filter(|file| !file.starts_with("generated")) else {
                continue;
            };
            for name in foreign_crates_of(&path) {
                found.entry(name).or_insert_with(|| file.display().to_string());
            }
        }
    }
    found
}

fn foreign_crates_of(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).expect("a source file");
    let items = syn::parse_file(&text).expect("Rust").items;
    let mut imports = BTreeMap::new();
    for item in &items {
        if let Item::Use(item) = item {
            import(&item.tree, &[], &mut imports);
        }
    }
    let public_types: BTreeSet<String> = items.iter().filter_map(public_type).collect();
    let own: BTreeSet<String> = items.iter().filter_map(module).collect();
    let mut paths = Paths::default();
    for mut item in items {
        match &mut item {
            Item::Impl(item) if is_one_of(&item.self_ty, &public_types) => paths.add_impl(item),
            Item::Fn(item) if is_public(&item.vis) => paths.visit_signature_mut(&mut item.sig),
            Item::Struct(item) if is_public(&item.vis) => {
                let fields = item.fields.iter_mut().filter(|field| is_public(&field.vis));
                fields.for_each(|field| paths.visit_type_mut(&mut field.ty));
            }
            Item::Enum(item) if is_public(&item.vis) => {
                item.variants
                    .iter_mut()
                    .for_each(|variant| paths.visit_fields_mut(&mut variant.fields));
            }
            Item::Trait(item) if is_public(&item.vis) => paths.visit_item_trait_mut(item),
            Item::Type(item) if is_public(&item.vis) => paths.visit_item_type_mut(item),
            _ => {}
        }
    }
    let ours = ["std", "core", "crate", "self", "super", "plugwire_protocol", "plugwire_process"];
    paths
        .0
        .iter()
        .filter_map(|path| {
            let first = path.first()?;
            match imports.get(first) {
                Some(root) => Some(root.clone()),
                None => {
                    (path.len() > 1 && first.starts_with(char::is_lowercase)).then(|| first.clone())
                }
            }
        })
        .filter(|root| !ours.contains(&root.as_str()) && !own.contains(root))
        .collect()
}

fn public_type(item: &Item) -> Option<String> {
    let (visibility, name) = match item {
        Item::Struct(item) => (&item.vis, &item.ident),
        Item::Enum(item) => (&item.vis, &item.ident),
        _ => return None,
    };
    is_public(visibility).then(|| name.to_string())
}

fn module(item: &Item) -> Option<String> {
    let Item::Mod(item) = item else { return None };
    Some(item.ident.to_string())
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_one_of(ty: &Type, names: &BTreeSet<String>) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|last| names.contains(&last.ident.to_string()))
}

/// Notes for each imported name the crate that it comes from. `before` is the path so far.
fn import(tree: &UseTree, before: &[String], imports: &mut BTreeMap<String, String>) {
    let root = |name: &str| before.first().map_or(name, String::as_str).to_owned();
    match tree {
        UseTree::Path(path) => {
            let before = [before, &[path.ident.to_string()]].concat();
            import(&path.tree, &before, imports);
        }
        UseTree::Group(group) => group.items.iter().for_each(|item| import(item, before, imports)),
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            // `use std::io::{self}` imports `io`.
            let imported = if name == "self" { before.last().cloned() } else { Some(name) };
            imports.extend(imported.map(|name| (name.clone(), root(&name))));
        }
        UseTree::Rename(name) => {
            imports.insert(name.rename.to_string(), root(&name.ident.to_string()));
        }
        UseTree::Glob(_) => {}
    }
}

/// The paths in signatures.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl Paths {
    /// A trait's implementation is public as a whole; otherwise only what is marked so.
    fn add_impl(&mut self, item: &mut syn::ItemImpl) {
        let of_trait = item.trait_.is_some();
        if let Some((.., path, _)) = &mut item.trait_ {
            self.visit_path_mut(path);
        }
        for member in &mut item.items {
            match member {
                ImplItem::Fn(method) if of_trait || is_public(&method.vis) => {
                    self.visit_signature_mut(&mut method.sig);
                }
                ImplItem::Type(associated) => self.visit_type_mut(&mut associated.ty),
                _ => {}
            }
        }
    }
}

impl VisitMut for Paths {
    fn visit_path_mut(&mut self, path: &mut syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit_mut::visit_path_mut(self, path);
    }
}
