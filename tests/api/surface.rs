//! The items that users can name: every exported one with its signature.

use crate::krate::{ItemPath, Krate, attrs, ident, is_compiled, notes, tokens};
use std::collections::{BTreeMap, BTreeSet};
use syn::parse::{Parse, ParseStream, Parser};
use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, Field, Fields, Ident, ImplItem, Item, ItemImpl, Token, Type, Visibility,
};

pub(crate) struct Surface {
    /// Lines of text by the exported path of the item they are about.
    lines: BTreeMap<String, Vec<String>>,
    names: BTreeSet<String>,
    external: BTreeSet<String>,
}

impl Surface {
    pub(crate) fn of(krate: &Krate) -> Self {
        let mut surface =
            Self { lines: BTreeMap::new(), names: BTreeSet::new(), external: BTreeSet::new() };
        let mut seen = BTreeMap::new();
        surface.add_module(krate, &Vec::new(), &mut seen);
        surface
    }

    pub(crate) fn text(&self) -> String {
        let lines = self.lines.values().flatten();
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// Exported types, traits and functions; one exported twice counts once.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.names.clone()
    }

    /// Exported types that cannot be formatted with `{:?}`.
    pub(crate) fn types_without_debug(&self) -> Vec<&String> {
        let is_type =
            |line: &String| line.starts_with("pub struct") || line.starts_with("pub enum");
        let has_debug = |line: &String| {
            line.contains("derive(") && line.contains("Debug") || line.ends_with("fmt::Debug")
        };
        let types = self.lines.values().filter(|lines| lines.first().is_some_and(is_type));
        types.filter(|lines| !lines.iter().any(has_debug)).map(|lines| &lines[0]).collect()
    }

    /// The crates whose items are in public signatures.
    pub(crate) fn external_crates(&self) -> BTreeSet<String> {
        self.external.clone()
    }

    fn add_module(
        &mut self,
        krate: &Krate,
        path: &ItemPath,
        seen: &mut BTreeMap<ItemPath, String>,
    ) {
        let module = &krate.modules[path];
        for (name, (target, is_public)) in &module.imports {
            if *is_public {
                let (home, item) =
                    krate.resolve(target).unwrap_or_else(|| panic!("{target:?} in {path:?}"));
                self.add_item(krate, path, name, &home, item, seen);
            }
        }
        for item in module.items.iter().filter(|item| is_public(item)) {
            match item {
                Item::Mod(inner) => {
                    let inner_path = [path.clone(), vec![inner.ident.to_string()]].concat();
                    self.line(&exported(&inner_path), format!("pub mod {}", exported(&inner_path)));
                    self.add_module(krate, &inner_path, seen);
                }
                Item::Use(_) => {}
                item => {
                    let name = ident(item).unwrap_or_default();
                    self.add_item(krate, path, &name, path, item, seen);
                }
            }
        }
    }

    fn line(&mut self, key: &str, line: String) {
        self.lines.entry(key.to_owned()).or_default().push(line);
    }

    fn add_item(
        &mut self,
        krate: &Krate,
        path: &ItemPath,
        name: &str,
        home: &ItemPath,
        item: &Item,
        seen: &mut BTreeMap<ItemPath, String>,
    ) {
        let key = exported(&[path.clone(), vec![name.to_owned()]].concat());
        let identity = [home.clone(), vec![name.to_owned()]].concat();
        if let Some(first) = seen.get(&identity) {
            self.line(&key, format!("pub use {key} = {first}"));
            return;
        }
        seen.insert(identity, key.clone());
        self.names.insert(name.to_owned());
        let notes = notes(attrs(item));
        match item {
            Item::Struct(item) => {
                self.line(&key, format!("pub struct {key}{}{notes}", tokens(&item.generics)));
                self.add_fields(krate, home, &key, &item.fields, false);
            }
            Item::Enum(item) => {
                self.line(&key, format!("pub enum {key}{}{notes}", tokens(&item.generics)));
                for variant in &item.variants {
                    let notes = crate::krate::notes(&variant.attrs);
                    self.line(&key, format!("    {}{notes}", variant.ident));
                    self.add_fields(krate, home, &key, &variant.fields, true);
                }
            }
            Item::Trait(item) => {
                let bounds = tokens(&item.supertraits);
                self.line(&key, format!("pub trait {key}{}: {bounds}", tokens(&item.generics)));
                let mut paths = Paths::new(krate, home, &mut self.external);
                item.supertraits.iter().for_each(|bound| paths.visit_type_param_bound(bound));
            }
            Item::Fn(item) => {
                self.line(&key, format!("pub {} in {}", tokens(&item.sig), exported(path)));
                Paths::new(krate, home, &mut self.external).visit_signature(&item.sig);
            }
            Item::Type(item) => {
                let (generics, target) = (tokens(&item.generics), tokens(&item.ty));
                self.line(&key, format!("pub type {key}{generics} = {target}"));
            }
            item => self.line(&key, format!("pub {}", tokens(item))),
        }
        if matches!(item, Item::Struct(_) | Item::Enum(_)) {
            for attr in attrs(item).iter().map(|attr| tokens(&attr.meta)) {
                if attr.contains("derive(serde::") {
                    self.external.insert("serde".to_owned());
                }
            }
            self.add_impls(krate, &key, name);
        }
    }

    fn add_fields(
        &mut self,
        krate: &Krate,
        home: &ItemPath,
        key: &str,
        fields: &Fields,
        all: bool,
    ) {
        for field in fields.iter().filter(|field| all || is_visible(field)) {
            let name = field.ident.as_ref().map_or_else(String::new, |name| format!("{name}: "));
            let indent = if all { "        " } else { "    pub " };
            self.line(key, format!("{indent}{name}{}", tokens(&field.ty)));
            Paths::new(krate, home, &mut self.external).visit_type(&field.ty);
        }
    }

    /// Methods and traits of a type, wherever in the crate they are.
    fn add_impls(&mut self, krate: &Krate, key: &str, name: &str) {
        let mut lines = BTreeSet::new();
        for (home, module) in &krate.modules {
            for item in &module.items {
                match item {
                    Item::Impl(block) if is_for(&block.self_ty, name) => {
                        lines.extend(self.of_impl(krate, home, block));
                    }
                    Item::Macro(call) if call.mac.path.is_ident("keywords") => {
                        let first = call.mac.tokens.clone().into_iter().next();
                        if first.is_some_and(|first| first.to_string() == name) {
                            lines.insert("    impl std::fmt::Display".to_owned());
                            lines.insert("    impl std::str::FromStr".to_owned());
                        }
                    }
                    _ => {}
                }
            }
        }
        lines.into_iter().for_each(|line| self.line(key, line));
    }

    fn of_impl(&mut self, krate: &Krate, home: &ItemPath, block: &ItemImpl) -> Vec<String> {
        let mut paths = Paths::new(krate, home, &mut self.external);
        let mut lines = Vec::new();
        if let Some((_, name, _)) = &block.trait_ {
            let path: ItemPath = name.segments.iter().map(|part| part.ident.to_string()).collect();
            if krate.resolve(&[home.clone(), path].concat()).is_none() {
                paths.visit_path(name);
                let subject = tokens(&block.self_ty);
                let is_other = subject.starts_with('&') || subject.contains("::");
                let by = if is_other { format!(" for {subject}") } else { String::new() };
                lines.push(format!("    impl{} {}{by}", tokens(&block.generics), tokens(name)));
            }
            return lines;
        }
        for item in &block.items {
            match item {
                ImplItem::Fn(item) if is_open(&item.vis, &item.attrs) => {
                    paths.visit_signature(&item.sig);
                    lines.push(format!("    pub {}", tokens(&item.sig)));
                }
                ImplItem::Const(item) if is_open(&item.vis, &item.attrs) => {
                    lines.push(format!("    pub const {}: {}", item.ident, tokens(&item.ty)));
                }
                ImplItem::Macro(call) if call.mac.path.is_ident("setters") => {
                    let setters = Setters::parse.parse2(call.mac.tokens.clone()).unwrap();
                    for (name, of) in setters.0 {
                        paths.visit_type(&of);
                        lines.push(format!(
                            "    pub fn {name}(self, {name}: {}) -> Self",
                            tokens(&of)
                        ));
                    }
                }
                _ => {}
            }
        }
        lines
    }
}

/// Finds the crates that the paths of a signature lead to.
struct Paths<'a> {
    krate: &'a Krate,
    home: &'a ItemPath,
    external: &'a mut BTreeSet<String>,
}

impl<'a> Paths<'a> {
    fn new(krate: &'a Krate, home: &'a ItemPath, external: &'a mut BTreeSet<String>) -> Self {
        Self { krate, home, external }
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let first = path.segments[0].ident.to_string();
        let import = self.krate.modules[self.home].imports.get(&first);
        let origin = import.map_or(&first, |(target, _)| target.first().unwrap_or(&first));
        let is_ours = self.krate.modules[&Vec::new()].items.iter().any(|item| match item {
            Item::Mod(module) => module.ident == origin.as_str(),
            item => ident(item).as_deref() == Some(origin),
        });
        let is_crate = origin.starts_with(|c: char| c.is_ascii_lowercase())
            && (import.is_some() || path.segments.len() > 1)
            && !["crate", "self", "super"].contains(&origin.as_str());
        let is_local =
            self.krate.modules.contains_key(&[self.home.clone(), vec![origin.clone()]].concat());
        if is_crate && !is_ours && !is_local {
            self.external.insert(origin.clone());
        }
        visit::visit_path(self, path);
    }
}

/// The calls of `setters!`: a name and its type each.
struct Setters(Vec<(Ident, Type)>);

impl Parse for Setters {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut all = Vec::new();
        while !input.is_empty() {
            Attribute::parse_outer(input)?;
            let name = input.parse()?;
            input.parse::<Token![:]>()?;
            let of = input.parse()?;
            input.parse::<Token![=>]>()?;
            input.parse::<Ident>()?;
            input.parse::<Token![=]>()?;
            input.parse::<Expr>()?;
            input.parse::<Token![;]>()?;
            all.push((name, of));
        }
        Ok(Self(all))
    }
}

fn exported(path: &[String]) -> String {
    [&["logrotor".to_owned()], path].concat().join("::")
}

fn is_public(item: &Item) -> bool {
    let vis = match item {
        Item::Const(item) => &item.vis,
        Item::Enum(item) => &item.vis,
        Item::Fn(item) => &item.vis,
        Item::Mod(item) => &item.vis,
        Item::Struct(item) => &item.vis,
        Item::Trait(item) => &item.vis,
        Item::Type(item) => &item.vis,
        _ => return false,
    };
    matches!(vis, Visibility::Public(_))
}

fn is_visible(field: &Field) -> bool {
    is_open(&field.vis, &field.attrs)
}

fn is_open(vis: &Visibility, attrs: &[Attribute]) -> bool {
    matches!(vis, Visibility::Public(_)) && is_compiled(attrs)
}

fn is_for(subject: &Type, name: &str) -> bool {
    match subject {
        Type::Reference(reference) => is_for(&reference.elem, name),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == name),
        _ => false,
    }
}
