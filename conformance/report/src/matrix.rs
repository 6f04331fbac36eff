//! Case × run: what the page and the table in Markdown show.

use crate::look::telling;
use crate::model::{CaseResult, Role, Run};

/// All runs of one role, beside each other.
#[derive(Debug)]
pub(crate) struct Matrix<'a> {
    pub(crate) role: Role,
    /// The columns.
    pub(crate) runs: Vec<&'a Run>,
    /// The rows in their groups.
    pub(crate) areas: Vec<Area<'a>>,
}

/// The cases of one area.
#[derive(Debug)]
pub(crate) struct Area<'a> {
    pub(crate) name: &'a str,
    pub(crate) rows: Vec<Row<'a>>,
}

/// One case in all runs.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// The description of the case, from the first run that has it.
    pub(crate) case: &'a CaseResult,
    /// One for each column; none if the run did not select the case.
    pub(crate) cells: Vec<Option<&'a CaseResult>>,
}

/// One for each role that occurs, plugins first.
pub(crate) fn matrices(runs: &[Run]) -> Vec<Matrix<'_>> {
    let of_role = |role| runs.iter().filter(|run| run.role == role).collect::<Vec<_>>();
    [Role::Plugin, Role::Host]
        .into_iter()
        .map(|role| (role, of_role(role)))
        .filter(|(_, runs)| !runs.is_empty())
        .map(|(role, runs)| Matrix { role, areas: areas(&runs), runs })
        .collect()
}

/// In the order of the first run, and at each area's end what only later runs have.
pub(crate) fn areas<'a>(runs: &[&'a Run]) -> Vec<Area<'a>> {
    let mut areas: Vec<Area<'a>> = Vec::new();
    for case in runs.iter().flat_map(|run| &run.cases) {
        let known = areas.iter().position(|area| area.name == case.area());
        let index = known.unwrap_or(areas.len());
        if known.is_none() {
            areas.push(Area { name: case.area(), rows: Vec::new() });
        }
        let rows = &mut areas[index].rows;
        if rows.iter().all(|row| row.case.id != case.id) {
            let cells = runs.iter().map(|run| cell(run, &case.id)).collect();
            rows.push(Row { case, cells });
        }
    }
    areas
}

/// Returns the case in this run. Where it ran several times, the time that says most.
fn cell<'a>(run: &'a Run, id: &str) -> Option<&'a CaseResult> {
    telling(run, run.cases.iter().filter(|case| case.id == id))
}
