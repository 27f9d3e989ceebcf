//! The `Ports` derive of isard.
//!
//! `#[derive(Ports)]` on a struct with named fields makes each field a port of a stage.
//! The doc comment of the field documents the port; `#[port(..)]` states what the type cannot:
//! `dtype = "u16|u32"` or a class (`number`, `integer`, `float`, `complex`), `axes = "y x"`, `unit = "count"`,
//! `columns = "row: f64 pixel, column: f64 pixel"`, `fixed` (one value for the whole run) and
//! `open` (a dictionary that takes the keys nobody named).

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Expr, ExprLit, Field, Fields, Lit, Meta, parse_macro_input};

/// Makes the fields of a struct the ports of a stage.
#[proc_macro_derive(Ports, attributes(port))]
pub fn derive_ports(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|e| e.to_compile_error()).into()
}

fn expand(input: &DeriveInput) -> syn::Result<Tokens> {
    let Data::Struct(data) = &input.data else {
        return Err(syn::Error::new(input.span(), "`Ports` is derived for structs"));
    };
    let fields: Vec<&Field> = match &data.fields {
        Fields::Named(named) => named.named.iter().collect(),
        Fields::Unit => vec![],
        Fields::Unnamed(_) => {
            return Err(syn::Error::new(input.span(), "the fields of a `Ports` struct have names"));
        }
    };
    let mut ports = vec![];
    let mut takes = vec![];
    let mut open_takes = vec![];
    let mut gives = vec![];
    let mut named = vec![];
    for field in fields {
        let ident = field.ident.as_ref().expect("named fields have names");
        let name = ident.to_string();
        let (port, open) = describe(field, &name)?;
        ports.push(port);
        if open {
            open_takes.push(ident.clone());
            gives.push(quote! { for (key, value) in self.#ident { dict.set(key, value); } });
        } else {
            takes.push(quote! { #ident: ::isard_core::port::take(dict, #name)? });
            named.push(name.clone());
            gives.push(quote! { ::isard_core::port::give(&mut dict, #name, self.#ident); });
        }
    }
    if let Some(second) = open_takes.get(1) {
        return Err(syn::Error::new(second.span(), "a stage has at most one open port"));
    }
    // A literal evaluates its fields as written: the open port comes last and takes what is left.
    takes.extend(open_takes.iter().map(|ident| {
        quote! {
            #ident: ::isard_core::port::take_rest(dict, &[#(#named),*])
        }
    }));
    let (ident, n) = (&input.ident, ports.len());
    Ok(quote! {
        impl ::isard_core::port::Ports for #ident {
            fn ports() -> ::std::vec::Vec<::isard_core::port::Port> {
                ::std::vec![#(#ports),*]
            }
            #[allow(unused_variables)]
            fn from_dict(dict: &mut ::isard_core::Dict) -> ::isard_core::Result<Self> {
                ::std::result::Result::Ok(Self { #(#takes),* })
            }
            #[allow(unused_mut)]
            fn into_dict(self) -> ::isard_core::Dict {
                let mut dict = ::isard_core::Dict::with_capacity(#n);
                #(#gives)*
                dict
            }
        }
    })
}

/// The expression that builds the port of a field, and whether the port is open.
fn describe(field: &Field, name: &str) -> syn::Result<(Tokens, bool)> {
    let doc = doc_of(&field.attrs);
    if doc.is_empty() {
        return Err(syn::Error::new(field.span(), format!("port `{name}` needs a doc comment")));
    }
    let ty = &field.ty;
    let mut port = quote! { ::isard_core::port::Port::of::<#ty>(#name, #doc) };
    let mut open = false;
    for attr in field.attrs.iter().filter(|a| a.path().is_ident("port")) {
        attr.parse_nested_meta(|meta| {
            let key = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            match key.as_str() {
                "fixed" => port = quote! { #port.fixed() },
                "open" => {
                    open = true;
                    port = quote! { #port.open() };
                }
                "dtype" | "axes" | "unit" | "columns" => {
                    let text: syn::LitStr = meta.value()?.parse()?;
                    check(&key, &text)?;
                    let method = syn::Ident::new(&key, text.span());
                    port = quote! { #port.#method(#text) };
                }
                _ => return Err(meta.error("known are dtype, axes, unit, columns, fixed, open")),
            }
            Ok(())
        })?;
    }
    Ok((port, open))
}

/// Faults an author should see at compile time rather than at the first run.
fn check(key: &str, text: &syn::LitStr) -> syn::Result<()> {
    const DTYPES: [&str; 18] = [
        "any", "number", "integer", "unsigned", "float", "complex", "u8", "u16", "u32", "u64", "i8", "i16",
        "i32", "i64", "f32", "f64", "c32", "c64",
    ];
    if key == "dtype" {
        let value = text.value();
        if let Some(bad) = value.split('|').find(|d| !DTYPES.contains(&d.trim())) {
            return Err(syn::Error::new(
                text.span(),
                format!("no dtype `{bad}`; known are {}", DTYPES.join(", ")),
            ));
        }
    }
    Ok(())
}

fn doc_of(attrs: &[Attribute]) -> String {
    let mut lines = vec![];
    for attr in attrs {
        if let Meta::NameValue(pair) = &attr.meta
            && pair.path.is_ident("doc")
            && let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value
        {
            lines.push(text.value().trim().to_owned());
        }
    }
    lines.join("\n").trim().to_owned()
}
