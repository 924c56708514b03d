//! `gro man`

mod markdown;

use anyhow::Context as _;
use clap_mangen::Man;
use std::io::Write as _;

/// Print the manual page of this program (roff).
///
/// It has every command and option, and the guide to attaching: what to expect, with figures.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  gro man | man -l -\n  gro man > /usr/local/share/man/man1/gro.1")]
pub(crate) struct Args {}

/// The guide, whose sections end the page.
const GUIDE: &str = include_str!("../../docs/attach.md");

pub(crate) fn run(_args: &Args, command: clap::Command) -> anyhow::Result<u8> {
    let page = page(command).context("writing the manual page")?;
    let mut out = std::io::stdout().lock();
    out.write_all(&page)?;
    out.flush()?;
    Ok(0)
}

fn page(mut command: clap::Command) -> std::io::Result<Vec<u8>> {
    // Gives subcommands their full names.
    command.build();
    let whole = Man::new(command.clone()).section("1").manual("User Commands");
    let mut page = Vec::new();
    whole.render(&mut page)?;
    // Its own list of subcommands names pages that there are not.
    let mut text = without_section(&String::from_utf8_lossy(&page), "SUBCOMMANDS");
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        text += &format!(".SH \"{}\"\n", title(subcommand));
        text += &of_command(subcommand)?;
    }
    Ok((text + &markdown::sections(GUIDE)).into_bytes())
}

/// A command as subsections; those of its own commands behind it.
fn of_command(command: &clap::Command) -> std::io::Result<String> {
    let man = Man::new(command.clone());
    let mut section = Vec::new();
    man.render_synopsis_section(&mut section)?;
    man.render_description_section(&mut section)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut section)?;
    }
    if command.get_after_help().is_some() || command.get_after_long_help().is_some() {
        man.render_extra_section(&mut section)?;
    }
    // The first request of the page's own kind has no line before it.
    let text = format!("\n{}", String::from_utf8_lossy(&section)).replace("\n.SH ", "\n.SS ");
    let mut text = text.replace("\n.SS EXTRA\n", "\n.SS NOTES\n").trim_start().to_owned();
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        text += &format!(".SH \"{}\"\n", title(subcommand));
        text += &of_command(subcommand)?;
    }
    Ok(text)
}

/// As it is called: `GRO NIC RULES`.
fn title(command: &clap::Command) -> String {
    command.get_bin_name().unwrap_or(command.get_name()).to_uppercase()
}

fn without_section(text: &str, name: &str) -> String {
    let mut keep = true;
    let mut kept = String::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix(".SH ") {
            keep = title.trim_matches('"') != name;
        }
        if keep {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_page_has_every_command_and_the_guide() {
        let page = String::from_utf8(page(crate::Cli::command()).unwrap()).unwrap();
        for section in
            [".SH NAME", ".SH \"GRO VERIFY\"", ".SH \"GRO NIC RULES\"", ".SH \"WHAT TO EXPECT\"", ".SH FILES"]
        {
            assert!(page.contains(section), "{section}");
        }
        assert!(!page.contains("gro\\-verify(1)") && !page.contains("<!--"));
        // A roff request is at the start of a line; nothing of the texts may look like one by accident.
        let known = [
            ".ie", ".el", ".TH", ".SH", ".SS", ".TP", ".RS", ".RE", ".PP", ".IP", ".nf", ".fi", ".br", ".EX",
            ".EE",
        ];
        for line in page.lines().filter(|line| line.starts_with('.')) {
            assert!(known.iter().any(|request| line.starts_with(request)), "{line}");
        }
    }
}
