//! Mistakes on the command line and in files are reported with their place, and nothing is run.

use crate::desk::Desk;

/// A correct case for plugins.
const CASE: &str = "[[case]]
id = \"first\"
tier = \"black-box\"
level = \"must\"
clause = [\"HS-10\"]
requirement = \"The first field is 1.\"
why = \"So it is.\"
budget = \"5s\"
mutants = { core-version-2 = \"2: line\" }
steps = [
    { start = {} },
    { line = { core = \"1\" } },
]
";

#[tokio::test]
async fn a_mistake_in_a_case_is_named_with_file_and_line() {
    let desk = Desk::new();
    let subject = desk.plugin("echo '1|1|unix|/x|grpc|'");
    for (good, bad, place, said) in [
        ("line =", "lien =", "area.toml:12", "lien"),
        ("core =", "cor =", "area.toml:12", "cor"),
        ("5s", "5 seconds", "area.toml:8", "no span of time"),
        ("\"must\"", "\"shall\"", "area.toml:4", "shall"),
        ("why =", "wy =", "area.toml", "wy"),
        ("id = \"first\"", "id = \"First Case\"", "area.toml:1", "no name of a case"),
        ("clause = [\"HS-10\"]", "clause = []", "area.toml:1", "names no clause"),
        ("mutants = { core-version-2 = \"2: line\" }", "mutants = {}", "area.toml:1", "no mutant"),
        ("steps = [", "steps = [[", "area.toml", ""),
    ] {
        assert!(CASE.contains(good), "{good}");
        desk.write("cases/area.toml", &CASE.replace(good, bad));
        let run = ["plugin", "--subject", &subject, "--cases", &desk.word("cases")];
        desk.run(run).await.says(2, &[place, said]);
    }
    desk.write("cases/area.toml", &format!("{CASE}{CASE}"));
    let run = ["plugin", "--subject", &subject, "--cases", &desk.word("cases")];
    desk.run(run).await.says(2, &["area.toml:14", "area.toml:1", "second case of that name"]);
    desk.write("cases/area.toml", CASE);
    let run = ["plugin", "--subject", &subject, "--cases", &desk.word("cases")];
    desk.run(run).await.says(0, &["1 case: 1 pass", "conformant"]);
}

#[tokio::test]
async fn no_such_case_folder_report_or_feature_is_a_mistake() {
    let desk = Desk::new();
    let subject = desk.plugin("echo hello");
    let run = |more: &[&str]| -> Vec<String> {
        ["plugin", "--subject", &subject]
            .iter()
            .chain(more)
            .map(|word| (*word).to_owned())
            .collect()
    };
    desk.run(run(&["--only", "x/*"])).await.says(2, &["no case matches \"x/*\""]);
    desk.run(run(&["--skip", "x/y"])).await.says(2, &["no case matches \"x/y\""]);
    desk.run(run(&["--cases", "nowhere"])).await.says(2, &["nowhere", "No such file"]);
    desk.run(run(&["--report", "pdf=x"])).await.says(2, &["no such report: \"pdf\""]);
    desk.run(run(&["--report", "html"])).await.says(2, &["which file?"]);
    desk.run(run(&["--without", "tpc"])).await.says(2, &["unknown feature \"tpc\"", "tcp"]);
    desk.run(run(&["--frobnicate"])).await.says(2, &["--frobnicate"]);
    desk.run(["explain", "x/y"]).await.says(2, &["no case is called x/y"]);
    desk.run(["run", "x/y", "--subject", &subject]).await.says(2, &["no case is called x/y"]);
    desk.run(["explain", "core-version"]).await.says(2, &["handshake/core-version-is-1"]);
    desk.run(["plugin", "--", "x"]).await.says(2, &["--cookie"]);
    desk.run(["plugin", "--cookie", "K", "--", "x"]).await.says(2, &["KEY=VALUE"]);
    desk.run(["schema", "nothing"]).await.says(2, &["plugin-cases"]);
}

#[tokio::test]
async fn a_description_of_a_subject_is_checked() {
    let desk = Desk::new();
    let subject = desk.plugin("echo hello");
    let text = desk.read("plugin.toml");
    for (good, bad, place, said) in [
        ("[handshake]", "[features]\ntpc = true\n[handshake]", "wrong.toml:6", "tpc"),
        ("name =", "nam =", "wrong.toml:2", "nam"),
        ("\"plugin\"", "\"guest\"", "wrong.toml:3", "guest"),
    ] {
        desk.write("wrong.toml", &text.replace(good, bad));
        desk.judge("wrong.toml", &[]).await.says(2, &[place, said]);
    }
    desk.run(["host", "--subject", &subject]).await.says(2, &["describes a plugin, not a host"]);
    desk.judge("nowhere.toml", &[]).await.says(2, &["nowhere.toml", "No such file"]);
}

fn entry(pattern: &str, expect: &str) -> String {
    format!("[[known]]\npattern = \"{pattern}\"\nexpect = \"{expect}\"\nreason = \"because\"\n")
}

#[tokio::test]
async fn a_known_list_is_strict() {
    let desk = Desk::new();
    let right = "handshake/core-version-is-1";
    let wrong = "handshake/network-and-protocol-are-known";
    let subject = desk.plugin("echo '1|1|unix|/x|netrpc|'; exec sleep 600");
    let run = [
        "plugin",
        "--subject",
        &subject,
        "--only",
        right,
        "--only",
        wrong,
        "--known",
        "known.toml",
    ];
    for (list, code, said) in [
        (entry("x/*", "fail"), 2, "known.toml:2: no case matches \"x/*\""),
        (entry(right, "fail") + &entry("*core*", "skip"), 2, "has two entries"),
        (entry(right, "maybe"), 2, "known.toml:3"),
        (entry(right, "fail").replace("because", " "), 2, "has no reason"),
        (String::new(), 1, "1 of 2 MUST is not met"),
        (entry(wrong, "fail"), 0, "1 expected-fail"),
        (entry(wrong, "flaky"), 0, "1 flaky"),
        (entry(wrong, "skip"), 0, "1 skip"),
        (entry(wrong, "fail") + &entry(right, "fail"), 1, "the known list is out of date"),
    ] {
        desk.write("known.toml", &list);
        desk.run(run).await.says(code, &[said]);
    }
    // No list excuses what the suite could not try.
    desk.write("known.toml", &entry(right, "fail"));
    let nobody = desk.described(&["plugwire-has-no-such-program"]);
    let run = ["plugin", "--subject", &nobody, "--only", right, "--known", "known.toml"];
    desk.run(run).await.says(3, &["no verdict"]);
}

#[tokio::test]
async fn a_known_list_is_written_by_people_and_not_by_ci() {
    let desk = Desk::new();
    let subject = desk.plugin("echo '1|1|unix|/x|netrpc|'; exec sleep 600");
    let wrong = "handshake/network-and-protocol-are-known";
    let run = ["plugin", "--subject", &subject, "--only", wrong, "--known", "known.toml"];
    let bless = [&run[..], &["--bless"]].concat();
    let in_ci = desk.suite(&bless).env("CI", "true").spawn().unwrap();
    desk.finish(in_ci).await.says(2, &["--bless is not for CI"]);
    assert!(!desk.path("known.toml").exists());
    desk.run(&bless).await.says(1, &["1 entries are in known.toml"]);
    assert!(desk.read("known.toml").contains(wrong));
    desk.run(run).await.says(0, &["1 expected-fail", "TODO"]);
}

#[tokio::test]
async fn what_proves_nothing_is_no_success() {
    let desk = Desk::new();
    let subject = desk.plugin("echo hello");
    let run = ["plugin", "--subject", &subject, "--only", "broker/*", "--tier", "raw"];
    desk.run(run).await.says(4, &["no case is selected"]);
    desk.judge(&subject, &["broker/id-reuse"]).await.says(4, &["1 skip", "nothing is proved"]);
}
