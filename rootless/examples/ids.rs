//! Prints who calls, the ids it may map, the map that comes of them and the state directory.

use std::process::ExitCode;

use rootless::{Caller, IdMaps, Kind, Means, Range, StateDir, Subordinate, hurdles};

fn main() -> ExitCode {
    match show() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ids: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<(), Box<dyn std::error::Error>> {
    let caller = Caller::look()?;
    println!("caller     {:?} {} (uid {}, gid {})", caller.standing, caller.called(), caller.uid, caller.gid);

    let subordinate = Subordinate::look(&caller)?;
    println!("uids       {}", list(&subordinate.uids));
    println!("gids       {}", list(&subordinate.gids));
    if subordinate.is_lacking() {
        let hurdle = hurdles::no_ranges(&caller);
        println!("           {}\n           help: {}", hurdle.cause, hurdle.remedy);
    }

    let maps = IdMaps::of(&caller, &subordinate);
    maps.check().map_err(|(kind, flaw)| format!("{kind} map: {flaw}"))?;
    for kind in [Kind::Uid, Kind::Gid] {
        let text = maps.kind(kind).to_string();
        println!("{kind} map    {}", text.trim_end().replace('\n', "\n           "));
    }
    match Means::choose(&caller, &maps) {
        Ok(means) => println!("written by {means:?}"),
        Err(error) => {
            println!("written by nobody: {error}");
            error.hurdle(&caller).iter().for_each(|hurdle| println!("           help: {}", hurdle.remedy));
        }
    }

    match StateDir::find(&caller, "ids-example") {
        Ok(StateDir { path, note }) => {
            println!("state in   {}", path.display());
            note.iter().for_each(|note| println!("           {note}"));
        }
        Err(error) => println!("state in   none: {error}\n           help: {}", error.remedy(&caller)),
    }
    Ok(())
}

fn list(ranges: &[Range]) -> String {
    match ranges {
        [] => "none".to_owned(),
        _ => ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}
