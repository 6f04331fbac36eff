//! `list`, `explain` and `schema`.

use std::fmt::Write as _;
use std::process::ExitCode;

use plugwire_conformance_report::model::Role;
use serde_json::{Value, json};

use super::args::{Explain, List, RoleWord};
use super::{Trouble, say};
use crate::case::{Case, Catalogue, Header};
use crate::select::Known;
use crate::subject::SubjectFile;
use crate::{catalogue, host, plugin};

/// Returns a case's name without its role.
pub(super) fn bare(name: &str) -> &str {
    let stripped = name.strip_prefix("plugin:").or_else(|| name.strip_prefix("host:"));
    stripped.unwrap_or(name)
}

/// Returns the role of the case of this name.
pub(super) fn role_of(
    name: &str,
    plugins: Option<&Catalogue<plugin::scene::Scene>>,
    hosts: Option<&Catalogue<host::scene::Scene>>,
) -> Result<Role, Trouble> {
    let short = bare(name);
    let is_plugin =
        !name.starts_with("host:") && plugins.is_some_and(|all| all.find(short).is_some());
    let is_host =
        !name.starts_with("plugin:") && hosts.is_some_and(|all| all.find(short).is_some());
    match (is_plugin, is_host) {
        (true, false) => Ok(Role::Plugin),
        (false, true) => Ok(Role::Host),
        (true, true) => Err(Trouble::Usage(format!(
            "both roles have a case {short}: say plugin:{short} or host:{short}"
        ))),
        (false, false) => Err(no_such_case(short, plugins, hosts)),
    }
}

fn no_such_case(
    name: &str,
    plugins: Option<&Catalogue<plugin::scene::Scene>>,
    hosts: Option<&Catalogue<host::scene::Scene>>,
) -> Trouble {
    let plugins = plugins.into_iter().flat_map(|all| &all.cases).map(|case| &case.header.id);
    let hosts = hosts.into_iter().flat_map(|all| &all.cases).map(|case| &case.header.id);
    let wanted = name.rsplit('/').next().unwrap_or(name);
    let mut near: Vec<&str> = plugins
        .chain(hosts)
        .map(String::as_str)
        .filter(|id| !wanted.is_empty() && id.contains(wanted))
        .take(5)
        .collect();
    near.dedup();
    match near.is_empty() {
        true => Trouble::Usage(format!(
            "no case is called {name}; `plugwire-conformance list` names them"
        )),
        false => {
            Trouble::Usage(format!("no case is called {name}; did you mean {}?", near.join(", ")))
        }
    }
}

/// `list`
pub(super) fn list(args: &List) -> Result<ExitCode, Trouble> {
    let folder = |role: &str| args.cases.as_ref().map(|folder| folder.join(role));
    let mut all: Vec<(Role, Header)> = Vec::new();
    if args.role != Some(RoleWord::Host) {
        let catalogue = catalogue::plugin(folder("plugin").as_deref()).map_err(Trouble::usage)?;
        all.extend(catalogue.cases.into_iter().map(|case| (Role::Plugin, case.header)));
    }
    if args.role != Some(RoleWord::Plugin) {
        let catalogue = catalogue::host(folder("host").as_deref()).map_err(Trouble::usage)?;
        all.extend(catalogue.cases.into_iter().map(|case| (Role::Host, case.header)));
    }
    if args.json {
        let cases: Vec<Value> = all.iter().map(|(role, header)| as_json(*role, header)).collect();
        let text = serde_json::to_string_pretty(&json!({ "format": 1, "cases": cases }));
        let text = text.map_err(|error| Trouble::engine("no JSON", error))?;
        say(&format!("{text}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for (role, header) in &all {
        let Header { id, tier, level, requirement, .. } = header;
        let tier = tier.word();
        let _ = writeln!(text, "{role:<6}  {tier:<9}  {level:<10}  {id}\n        {requirement}");
    }
    let _ = writeln!(text, "{} cases", all.len());
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(role: Role, header: &Header) -> Value {
    json!({
        "role": role.to_string(),
        "id": header.id,
        "aliases": header.aliases,
        "tier": header.tier.word(),
        "level": header.level.to_string(),
        "clause": header.clause,
        "requirement": header.requirement,
        "why": header.why,
        "needs": header.needs,
        "budget_ms": header.budget.as_millis() as u64,
        "mutants": header.mutants.names().collect::<Vec<_>>(),
        "catalogue": header.catalogue,
    })
}

/// `explain`
pub(super) fn explain(args: &Explain) -> Result<ExitCode, Trouble> {
    let plugins = catalogue::plugin(None).map_err(Trouble::usage)?;
    let hosts = catalogue::host(None).map_err(Trouble::usage)?;
    let role = role_of(&args.case, Some(&plugins), Some(&hosts))?;
    let name = bare(&args.case);
    let text = match role {
        Role::Plugin => plugins.find(name).map(|case| explained(role, case)),
        Role::Host => hosts.find(name).map(|case| explained(role, case)),
    };
    say(&text.unwrap_or_default())?;
    Ok(ExitCode::SUCCESS)
}

fn explained<S>(role: Role, case: &Case<S>) -> String {
    let header = &case.header;
    let mut text = String::new();
    let _ = writeln!(text, "{role}:{}  ({}, {})\n", header.id, header.tier.word(), header.level);
    let _ = writeln!(text, "requires   {}", header.requirement);
    let _ = writeln!(text, "because    {}", header.why);
    let _ = writeln!(text, "clauses    {} (docs/spec.md)", header.clause.join(", "));
    if !header.needs.is_empty() {
        let _ = writeln!(text, "needs      {}", header.needs.join(", "));
    }
    let _ = writeln!(text, "budget     {}", header.budget);
    let _ = writeln!(text, "rejects    {}", header.mutants.names().collect::<Vec<_>>().join(", "));
    let _ = writeln!(text, "stands in  {}\n", case.place);
    let _ = writeln!(text, "{}", source_of(role, case));
    text
}

/// Returns the case as it is written.
fn source_of<S>(role: Role, case: &Case<S>) -> String {
    let text = catalogue::source(role, case.area()).unwrap_or_default();
    let line: usize = case.place.rsplit(':').next().and_then(|line| line.parse().ok()).unwrap_or(1);
    let mut lines = text.lines().skip(line.saturating_sub(1));
    let first = lines.next().into_iter();
    let rest = lines.take_while(|line| !line.starts_with("[[case]]"));
    let shown: Vec<&str> = first.chain(rest).collect();
    shown.join("\n").trim_end().to_owned()
}

/// `schema`
pub(super) fn schema(name: &str) -> Result<ExitCode, Trouble> {
    let schema = schema_of(name).ok_or_else(|| {
        Trouble::Usage(format!("no schema {name:?}; known: {}", SCHEMAS.join(", ")))
    })?;
    say(&format!("{schema}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// What has a schema.
pub(super) const SCHEMAS: [&str; 4] = ["plugin-cases", "host-cases", "subject", "known"];

/// Returns a schema as it is checked in.
fn schema_of(name: &str) -> Option<String> {
    let schema = match name {
        "plugin-cases" => cases_schema(schemars::schema_for!(plugin::scene::Scene)),
        "host-cases" => cases_schema(schemars::schema_for!(host::scene::Scene)),
        "subject" => schemars::schema_for!(SubjectFile).to_value(),
        "known" => schemars::schema_for!(Known).to_value(),
        _ => return None,
    };
    serde_json::to_string_pretty(&schema).ok()
}

/// Returns a file of cases: each has the header's members and its scene's in one table.
fn cases_schema(scene: schemars::Schema) -> Value {
    let mut case = scene.to_value();
    let header = schemars::schema_for!(Header).to_value();
    for part in ["properties", "$defs"] {
        let more = header.get(part).and_then(Value::as_object).cloned().unwrap_or_default();
        if !more.is_empty() {
            let into =
                case.as_object_mut().map(|case| case.entry(part).or_insert_with(|| json!({})));
            if let Some(Value::Object(into)) = into {
                into.extend(more);
            }
        }
    }
    let required = |schema: &Value| {
        schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let both = [required(&header), required(&case)].concat();
    let definitions =
        case.as_object_mut().and_then(|case| case.remove("$defs")).unwrap_or(json!({}));
    case["required"] = Value::Array(both);
    case.as_object_mut().map(|case| case.remove("$schema"));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A file of cases",
        "type": "object",
        "properties": { "case": { "type": "array", "items": case } },
        "required": ["case"],
        "additionalProperties": false,
        "$defs": definitions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_schemas_that_are_checked_in_are_current() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
        for name in SCHEMAS {
            let file = folder.join(format!("{name}.v1.json"));
            let current = schema_of(name).unwrap() + "\n";
            if std::env::var_os("PLUGWIRE_BLESS").is_some() {
                std::fs::write(&file, &current).unwrap();
            }
            let checked_in = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(
                checked_in == current,
                "{} differs: PLUGWIRE_BLESS=1 writes it",
                file.display()
            );
        }
    }

    #[test]
    fn every_case_can_be_explained() {
        let plugins = catalogue::plugin(None).unwrap();
        let hosts = catalogue::host(None).unwrap();
        for case in &plugins.cases {
            let source = source_of(Role::Plugin, case);
            let id = case.header.id.split_once('/').unwrap().1;
            assert!(
                source.starts_with("[[case]]") && source.contains(&format!("\"{id}\"")),
                "{id}"
            );
        }
        assert!(role_of("no/such", Some(&plugins), Some(&hosts)).is_err());
        let name = format!("host:{}", hosts.cases[0].header.id);
        assert_eq!(role_of(&name, Some(&plugins), Some(&hosts)).unwrap(), Role::Host);
    }
}
