//! From a source file to what of it is public.

use std::collections::BTreeSet;

use syn::{Attribute, Block, Fields, File, ImplItem, Item, TraitItem, Type, Visibility};

/// Names of the public types of some files.
pub(crate) fn public_types<'a>(files: impl Iterator<Item = &'a File>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for item in files.flat_map(|file| &file.items) {
        let (visibility, name) = match item {
            Item::Struct(item) => (&item.vis, &item.ident),
            Item::Enum(item) => (&item.vis, &item.ident),
            Item::Type(item) => (&item.vis, &item.ident),
            _ => continue,
        };
        if is_public(visibility) {
            names.insert(name.to_string());
        }
    }
    names
}

/// The public part of a file: no bodies, no comments, no private fields; `impl` blocks of the public `types`.
pub(crate) fn strip(mut file: File, types: &BTreeSet<String>) -> File {
    file.attrs.clear();
    file.shebang = None;
    file.items = file
        .items
        .into_iter()
        .filter_map(|item| item_of(item, types))
        .collect();
    file
}

fn item_of(mut item: Item, types: &BTreeSet<String>) -> Option<Item> {
    let visibility = match &mut item {
        Item::Const(item) => {
            attributes(&mut item.attrs);
            *item.expr = syn::parse_quote!(..);
            item.vis.clone()
        }
        Item::Static(item) => {
            attributes(&mut item.attrs);
            *item.expr = syn::parse_quote!(..);
            item.vis.clone()
        }
        Item::Enum(item) => {
            attributes(&mut item.attrs);
            for variant in &mut item.variants {
                attributes(&mut variant.attrs);
                fields(&mut variant.fields, false);
            }
            item.vis.clone()
        }
        Item::Struct(item) => {
            attributes(&mut item.attrs);
            fields(&mut item.fields, true);
            item.vis.clone()
        }
        Item::Fn(item) => {
            attributes(&mut item.attrs);
            *item.block = empty();
            item.vis.clone()
        }
        Item::Mod(item) => {
            attributes(&mut item.attrs);
            item.vis.clone()
        }
        Item::Trait(item) => {
            attributes(&mut item.attrs);
            item.items.iter_mut().for_each(trait_item);
            item.vis.clone()
        }
        Item::Type(item) => {
            attributes(&mut item.attrs);
            item.vis.clone()
        }
        Item::Use(item) => {
            attributes(&mut item.attrs);
            item.vis.clone()
        }
        Item::Macro(item) => {
            let exported = item
                .attrs
                .iter()
                .any(|attribute| attribute.path().is_ident("macro_export"));
            item.attrs
                .retain(|attribute| attribute.path().is_ident("macro_export"));
            item.mac.tokens = syn::parse_quote!(() => {};);
            return exported.then_some(Item::Macro(item.clone()));
        }
        Item::Impl(item) => {
            let Type::Path(path) = &*item.self_ty else {
                return None;
            };
            let name = path.path.segments.last()?.ident.to_string();
            attributes(&mut item.attrs);
            if item.trait_.is_some() {
                item.items.retain(|item| matches!(item, ImplItem::Type(_)));
            } else {
                item.items.retain_mut(inherent_item);
                if item.items.is_empty() {
                    return None;
                }
            }
            return types.contains(&name).then(|| Item::Impl(item.clone()));
        }
        _ => return None,
    };
    is_public(&visibility).then_some(item)
}

fn inherent_item(item: &mut ImplItem) -> bool {
    match item {
        ImplItem::Fn(item) => {
            attributes(&mut item.attrs);
            item.block = empty();
            is_public(&item.vis)
        }
        ImplItem::Const(item) => {
            attributes(&mut item.attrs);
            item.expr = syn::parse_quote!(..);
            is_public(&item.vis)
        }
        _ => false,
    }
}

fn trait_item(item: &mut TraitItem) {
    match item {
        TraitItem::Fn(item) => {
            attributes(&mut item.attrs);
            // That there is a default matters to those who implement the trait.
            if let Some(default) = &mut item.default {
                *default = empty();
            }
        }
        TraitItem::Type(item) => attributes(&mut item.attrs),
        TraitItem::Const(item) => attributes(&mut item.attrs),
        _ => {}
    }
}

/// Only what a user of the item meets.
fn attributes(attributes: &mut Vec<Attribute>) {
    const KEPT: [&str; 6] = [
        "cfg",
        "derive",
        "must_use",
        "non_exhaustive",
        "repr",
        "deprecated",
    ];
    attributes.retain(|attribute| KEPT.iter().any(|kept| attribute.path().is_ident(kept)));
}

fn fields(fields: &mut Fields, hides: bool) {
    if let Fields::Named(named) = fields {
        let kept = std::mem::take(&mut named.named);
        named.named = kept
            .into_iter()
            .filter(|field| !hides || is_public(&field.vis))
            .collect();
    }
    for field in fields.iter_mut() {
        attributes(&mut field.attrs);
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn empty() -> Block {
    syn::parse_quote!({})
}
