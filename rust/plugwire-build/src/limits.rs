//! Raises the limit of 4 MiB that tonic's clients and servers set on decoded messages.
//!
//! tonic has a setter on each client and server, but no option for the generated default, and a forgotten setter is
//! noticed only with the first large message. Therefore the default itself is changed, in the syntax tree of the code
//! that tonic has generated. The changes are counted: if a release of tonic generates different code, the build fails
//! instead of silently keeping the low limit.

use syn::visit_mut::{self, VisitMut};

/// The changes for one service: two constructors of the client, one of the server, and the documentation of the setter
/// in each.
const EXPECTED: Found = Found { clients: 2, servers: 1, docs: 2 };

/// tonic's documentation of its default, as prettyplease formats it.
const OLD_DOC: &str = " Default: `4MB`";
const NEW_DOC: &str = " Default: 2 GiB - 1, the limit of go-plugin's own hosts";

/// Raises the limit in the generated code of one service.
pub(crate) fn raise(code: &str) -> Result<String, String> {
    let mut file = syn::parse_file(code).map_err(|e| e.to_string())?;
    let mut raise = Raise::default();
    raise.visit_file_mut(&mut file);
    if raise.found != EXPECTED {
        return Err(format!("expected {EXPECTED:?}, found {:?}", raise.found));
    }
    Ok(prettyplease::unparse(&file))
}

#[derive(Debug, Default, PartialEq)]
struct Found {
    clients: u32,
    servers: u32,
    docs: u32,
}

#[derive(Default)]
struct Raise {
    found: Found,
}

impl VisitMut for Raise {
    /// Changes `tonic::client::Grpc::new(…)` and `::with_origin(…)` in the client.
    fn visit_expr_mut(&mut self, expr: &mut syn::Expr) {
        visit_mut::visit_expr_mut(self, expr);
        let syn::Expr::Call(call) = &*expr else { return };
        let syn::Expr::Path(function) = &*call.func else { return };
        if is_path(&function.path, &["tonic", "client", "Grpc", "new"])
            || is_path(&function.path, &["tonic", "client", "Grpc", "with_origin"])
        {
            self.found.clients += 1;
            *expr = syn::parse_quote!(#call.max_decoding_message_size(i32::MAX as usize));
        }
    }

    /// Changes `max_decoding_message_size: None` in the server.
    fn visit_field_value_mut(&mut self, field: &mut syn::FieldValue) {
        visit_mut::visit_field_value_mut(self, field);
        let syn::Member::Named(name) = &field.member else { return };
        let syn::Expr::Path(value) = &field.expr else { return };
        if name == "max_decoding_message_size" && is_path(&value.path, &["None"]) {
            self.found.servers += 1;
            field.expr = syn::parse_quote!(Some(i32::MAX as usize));
        }
    }

    /// Changes the default in the setter's documentation.
    fn visit_impl_item_fn_mut(&mut self, function: &mut syn::ImplItemFn) {
        visit_mut::visit_impl_item_fn_mut(self, function);
        if function.sig.ident != "max_decoding_message_size" {
            return;
        }
        for attribute in &mut function.attrs {
            if let syn::Meta::NameValue(doc) = &mut attribute.meta
                && is_text(&doc.value, OLD_DOC)
            {
                self.found.docs += 1;
                doc.value = syn::parse_quote!(#NEW_DOC);
            }
        }
    }
}

fn is_path(path: &syn::Path, segments: &[&str]) -> bool {
    path.segments.len() == segments.len()
        && path.segments.iter().zip(segments).all(|(segment, name)| segment.ident == name)
}

fn is_text(expr: &syn::Expr, text: &str) -> bool {
    matches!(expr, syn::Expr::Lit(literal) if matches!(&literal.lit, syn::Lit::Str(s) if s.value() == text))
}

#[cfg(test)]
mod tests {
    use super::raise;

    /// If tonic generates different code, the build must fail instead of keeping the low limit.
    #[test]
    fn unknown_code_is_rejected() {
        let reason = raise("fn other() {}").unwrap_err();
        assert!(
            reason.starts_with("expected Found { clients: 2, servers: 1, docs: 2 }"),
            "{reason}"
        );
        assert!(raise("not rust").is_err());
    }
}
