//! `kase ps`.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use super::table::{self, Align, print};
use crate::container::processes::{self, ListedProcess};
use crate::container::state::Owners;
use crate::fault::{Fault, OrFault, printable};
use anyhow::Context as _;
use std::io::Write;
use std::time::SystemTime;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let id = arguments.id();
    let doing = || format!("ps {id}");
    let container = context.store()?.container(id).with_context(doing)?;
    let pids = processes::pids(&container).with_context(doing)?;
    let mut out = Vec::new();
    let options: Vec<&str> = arguments.texts("options").collect();
    if table::is_json(arguments) {
        writeln!(out, "{}", serde_json::to_string(&pids)?)?;
    } else if options.is_empty() {
        show(&processes::look(&pids).with_context(doing)?, &mut out)?;
    } else {
        filter(&host_ps(&options).with_context(doing)?, &pids, &mut out).with_context(doing)?;
    }
    print(out)?;
    Ok(ExitCode::SUCCESS)
}

/// The columns of `ps -ef`.
fn show(processes: &[ListedProcess], out: &mut impl Write) -> anyhow::Result<()> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().cast_signed());
    let mut owners = Owners::default();
    let mut rows = vec![["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"].map(String::from)];
    rows.extend(processes.iter().map(|process| {
        [
            owners.name(process.uid).trim_start_matches('#').to_string(),
            process.pid.to_string(),
            process.parent.to_string(),
            process.share.to_string(),
            processes::start(process.started, now),
            process.terminal.clone().unwrap_or_else(|| "?".to_string()),
            processes::duration(process.used),
            process.command.clone(),
        ]
    }));
    use Align::{Left, Right};
    table::columns(&rows, [Left, Right, Right, Right, Left, Left, Right, Left], out)?;
    Ok(())
}

fn host_ps(options: &[&str]) -> anyhow::Result<String> {
    let doing = || {
        Fault::doing("run the host's ps").remedy("install ps (package procps), or leave the ps options out")
    };
    let program = rootless::program("ps").ok_or_else(doing)?;
    let output = std::process::Command::new(program).args(options).output().or_fault(doing)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
        return Err(Fault::doing(format!("ps {}: {said}", options.join(" ")))
            .remedy("give options that the host's ps knows, see ps(1)")
            .into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The header, and the lines of the container's processes.
fn filter(text: &str, pids: &[i32], out: &mut impl Write) -> anyhow::Result<()> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID").ok_or_else(|| {
        Fault::doing("couldn't find PID field in ps output")
            .remedy("give ps options that show the column PID")
    })?;
    writeln!(out, "{}", printable(header))?;
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            writeln!(out, "{}", printable(line))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_lines_are_kept() {
        let mut out = Vec::new();
        filter("  USER PID CMD\nroot 7 sh\nroot 77 7\nroot 8 sleep 7\n", &[7, 8], &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "  USER PID CMD\nroot 7 sh\nroot 8 sleep 7\n");
        assert!(filter("USER CMD\n", &[], &mut Vec::new()).is_err());
    }
}
