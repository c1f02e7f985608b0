//! A container's scope, as systemd makes it: a transient unit around init.

pub mod bus;
pub mod marshal;

use super::directory;
use super::write::Written;
use crate::fault::{Fault, OrFault};
use crate::kernel::text::read_text;
use crate::plan::cgroup::Systemd;
use crate::plan::cgroup::limits::{Limits, Value};
use crate::plan::cgroup::properties;
use crate::plan::cgroup::unit::{Property, Unit};
use bus::{Bus, Refused, Target};
use marshal::Body;
use rootless::caller::{Caller, Standing};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The unit of a container that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitFacts {
    /// `kase-web.scope`.
    pub name: String,
    /// Whose it is.
    pub bus: Systemd,
}

impl UnitFacts {
    /// What will be known of a unit.
    pub fn of(unit: &Unit) -> Self {
        Self { name: unit.name.clone(), bus: unit.bus }
    }
}

const MANAGER: Target = Target {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const PROPERTIES: Target = Target { interface: "org.freedesktop.DBus.Properties", ..MANAGER };
const JOB_REMOVED: &str = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
    interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

/// The systemd that would make this caller's scopes, if one runs.
pub fn which(caller: &Caller) -> Option<Systemd> {
    // sd_booted(3). Where that cannot be looked at, whoever connects learns why.
    let booted = Path::new("/run/systemd/system").try_exists().unwrap_or(true);
    let user = || rootless::delegation::user_bus(caller).map(|_| Systemd::User);
    match caller.standing {
        Standing::Root => booted.then_some(Systemd::System),
        Standing::User => user().filter(|_| booted),
        // The root of a system container has a systemd of its own; that of a rootless engine has the user's, even
        // where /run is its own: rootlesskit makes one with links to what lies in the host's.
        Standing::NamespaceRoot => {
            let own = Path::new(SYSTEM_BUS).metadata().is_ok_and(|bus| bus.uid() == caller.uid);
            if own && booted { Some(Systemd::System) } else { user() }
        }
    }
}

fn socket(manager: Systemd) -> anyhow::Result<PathBuf> {
    match manager {
        Systemd::System => Ok(PathBuf::from(SYSTEM_BUS)),
        Systemd::User => {
            let caller = Caller::look()?;
            rootless::delegation::user_bus(&caller).ok_or_else(|| {
                Fault::doing("find the bus of your systemd")
                    .remedy("log in as this user, or run `loginctl enable-linger` for it, and set XDG_RUNTIME_DIR")
                    .into()
            })
        }
    }
}

fn connect(manager: Systemd) -> anyhow::Result<Bus> {
    let socket = socket(manager)?;
    Bus::connect(&socket).map_err(|error| {
        let (word, start) = match (manager, Caller::look()) {
            (Systemd::User, Ok(caller)) => {
                ("user", rootless::delegation::dead_bus(caller.uid_outside(), &socket, &error).remedy)
            }
            (Systemd::User, Err(_)) => ("user", "log in again".to_string()),
            (Systemd::System, _) => ("system", "run as root: systemctl start dbus".to_string()),
        };
        Fault::doing(format!("connect to systemd on the {word} bus at {}", socket.display()))
            .remedy(format!("{start}; or give --cgroup-manager cgroupfs"))
            .caused_by(error)
    })
}

/// Makes the scope around the process `pid`, and waits until it is there.
pub fn start(unit: &Unit, limits: &Limits, pid: i32) -> anyhow::Result<()> {
    let mut bus = connect(unit.bus)?;
    let properties = start_properties(unit, limits, pid, &mut bus)?;
    bus.subscribe(JOB_REMOVED);
    let call = |bus: &mut Bus| {
        let mut body = Body::of("ssa(sv)a(sa(sv))");
        body.text(&unit.name);
        body.text("replace");
        body.properties(&properties);
        body.array(8, |_| {});
        bus.ask(MANAGER, "StartTransientUnit", body)
    };
    let doing = || doing("start", &unit.name);
    let mut answer = call(&mut bus).or_fault(doing)?;
    if answer.as_ref().is_err_and(|refused| refused.name.ends_with(".UnitExists")) {
        // A failed one may be left over.
        reset(&mut bus, &unit.name).or_fault(doing)?;
        answer = call(&mut bus).or_fault(doing)?;
    }
    let job = answer.map_err(|refused| not_started(unit, refused))?.reader().text().unwrap_or_default();
    let result = finished(&mut bus, &job).or_fault(doing)?;
    if result != "done" {
        reset(&mut bus, &unit.name).or_fault(doing)?;
        return Err(Fault::doing(format!("error creating systemd unit `{}`: got `{result}`", unit.name))
            .remedy(format!("look at `systemctl status {}`", unit.name))
            .into());
    }
    Ok(())
}

fn not_started(unit: &Unit, refused: Refused) -> anyhow::Error {
    // The bus of a desktop's or a terminal's own, or somebody else's.
    let stranger = [".AccessDenied", ".ServiceUnknown", ".Spawn.ChildExited"];
    let remedy = if refused.name.ends_with(".UnitExists") {
        "name another unit in linux.cgroupsPath, or stop that one with `systemctl stop`"
    } else if unit.bus == Systemd::User && stranger.iter().any(|name| refused.name.ends_with(name)) {
        "unset DBUS_SESSION_BUS_ADDRESS if it is not the bus that your systemd listens at"
    } else {
        "see systemd.resource-control(5) for the properties and their values"
    };
    doing("start", &unit.name).remedy(remedy).caused_by(refused)
}

fn doing(verb: &str, unit: &str) -> Fault {
    Fault::doing(format!("{verb} the systemd unit {unit}"))
}

fn start_properties(
    unit: &Unit,
    limits: &Limits,
    pid: i32,
    bus: &mut Bus,
) -> anyhow::Result<Vec<(String, Property)>> {
    // Neither DevicePolicy nor DeviceAllow: systemd leaves programs alone that it did not attach, also when it
    // reloads, and the two would have to be kept in step.
    let mut all = vec![
        ("Description".to_string(), Property::Text(format!("kase container {}", unit.name))),
        ("Slice".to_string(), Property::Text(unit.slice.clone())),
        ("Delegate".to_string(), Property::Bool(true)),
        ("PIDs".to_string(), Property::Uint32s(vec![pid.unsigned_abs()])),
        ("DefaultDependencies".to_string(), Property::Bool(false)),
    ];
    // Accounting is what makes systemd hand controllers down, also those that nothing is limited by.
    for controller in ["CPU", "Memory", "IO", "Tasks"] {
        all.push((format!("{controller}Accounting"), Property::Bool(true)));
    }
    let values = limits.writes.iter().filter_map(|write| match &write.value {
        Value::Text(text) => Some((write.file.to_string(), text.clone())),
        Value::AfterFirstWord(word) => Some((write.file.to_string(), format!("max {word}"))),
        Value::SwapOf { .. } | Value::SwapBeside { .. } => None,
    });
    let values: Vec<_> = values.collect();
    let mut limits = of_values(&values, bus).or_fault(|| doing("start", &unit.name))?;
    // Only now: no property of a scope that runs.
    let group = values.iter().find(|(file, _)| file == "memory.oom.group");
    if let Some(policy) = group.and_then(|(_, value)| properties::oom_policy(value)) {
        if version(bus).or_fault(|| doing("start", &unit.name))? >= properties::OOM_POLICY_SINCE {
            limits.push(("OOMPolicy".to_string(), Property::Text(policy.to_string())));
        } else {
            tracing::warn!(
                "linux.resources.unified.memory.oom.group: a systemd before {} sets it back when it reloads",
                properties::OOM_POLICY_SINCE
            );
        }
    }
    for (name, property) in limits.into_iter().chain(unit.properties.iter().cloned()) {
        // What the user wrote wins, and a property may be set once, unless it adds to a list.
        all.retain(|(earlier, _)| *earlier != name || name == properties::OF_DEVICES);
        all.push((name, property));
    }
    Ok(all)
}

/// The properties for files and their values.
fn of_values(values: &[Written], bus: &mut Bus) -> io::Result<Vec<(String, Property)>> {
    let mut all: Vec<_> = values.iter().flat_map(|(file, value)| properties::of(file, value)).collect();
    // A weight of 0 is systemd's word for idle, since version 252.
    let idle = values.iter().any(|(file, value)| file == "cpu.idle" && value.trim() == "1");
    if idle && version(bus)? >= 252 {
        all.retain(|(name, _)| name != "CPUWeight");
        all.push(("CPUWeight".to_string(), Property::Uint64(0)));
    }
    Ok(all)
}

/// Such as 252. What it does not say is an error.
fn version(bus: &mut Bus) -> io::Result<u32> {
    let message = ask_version(bus)?.map_err(io::Error::other)?;
    let mut reader = message.reader();
    let text = reader.signature().and_then(|_| reader.text()).unwrap_or_default();
    let mut numbers = text.split(|letter: char| !letter.is_ascii_digit());
    numbers
        .find_map(|digits| digits.parse().ok())
        .ok_or_else(|| io::Error::other(format!("systemd's Version is {text:?}, which has no number")))
}

fn ask_version(bus: &mut Bus) -> io::Result<Result<bus::Message, Refused>> {
    bus.ask(PROPERTIES, "Get", Body::texts(&[MANAGER.interface, "Version"]))
}

/// Waits for a job; tells how it ended.
fn finished(bus: &mut Bus, job: &str) -> io::Result<String> {
    let parts = |message: &bus::Message| {
        let mut reader = message.reader();
        reader.uint32()?;
        let job = reader.text()?;
        reader.text()?;
        Some((job, reader.text()?))
    };
    let message = bus.signal(|message| {
        message.name == "JobRemoved" && parts(message).is_some_and(|(removed, _)| removed == job)
    })?;
    Ok(parts(&message).map(|(_, result)| result).unwrap_or_default())
}

/// Forgets that a unit failed; one that did not, or is gone, is as good.
fn reset(bus: &mut Bus, unit: &str) -> io::Result<()> {
    bus.ask(MANAGER, "ResetFailedUnit", Body::texts(&[unit])).map(drop)
}

/// Sets what was written into the files of the unit's cgroup, at `path`, on the unit too.
pub fn update(unit: &UnitFacts, path: &Path, written: Vec<Written>) -> anyhow::Result<()> {
    let written =
        whole(path, written).or_fault(|| Fault::doing(format!("read the limits in {}", path.display())))?;
    set_properties(unit, &written)?;
    // systemd forgets the period of no quota.
    let lost = written.iter().find(|(file, value)| file == "cpu.max" && value.starts_with("max "));
    lost.map_or(Ok(()), |(file, value)| directory::write(&path.join(file), value))
        .or_fault(|| Fault::doing(format!("write cpu.max in {}", path.display())))
}

/// What was written, with what it means together with what was there: a quota alone is one of the old period, and
/// what ceases to be idle has a weight.
fn whole(path: &Path, mut written: Vec<Written>) -> io::Result<Vec<Written>> {
    let now = |file: &str| read_text(path.join(file)).map(|text| text.trim().to_string());
    for (_, value) in written.iter_mut().filter(|(file, _)| file == "cpu.max") {
        *value = now("cpu.max")?;
    }
    let weight = written.iter().any(|(file, _)| file == "cpu.weight");
    if written.iter().any(|(file, value)| file == "cpu.idle" && value == "0") && !weight {
        written.push(("cpu.weight".to_string(), now("cpu.weight")?));
    }
    Ok(written)
}

fn set_properties(unit: &UnitFacts, written: &[Written]) -> anyhow::Result<()> {
    let mut bus = connect(unit.bus)?;
    let doing = || doing("set properties of", &unit.name);
    let properties = of_values(written, &mut bus).or_fault(doing)?;
    if properties.is_empty() {
        return Ok(());
    }
    let mut body = Body::of("sba(sv)");
    body.text(&unit.name);
    // Until the unit ends; there is no file of it to change.
    body.bool(true);
    body.properties(&properties);
    bus.ask(MANAGER, "SetUnitProperties", body).or_fault(doing)?.map(drop).or_fault(doing)?;
    // It writes its files after this answer, and before the next one.
    ask_version(&mut bus).map(drop).or_fault(doing)
}

/// Has systemd move a process into the unit, or into a cgroup below it, where the caller may not.
pub fn attach(unit: &UnitFacts, below: &Path, pid: i32) -> anyhow::Result<()> {
    let mut bus = connect(unit.bus)?;
    let doing = || doing(&format!("move process {pid} into"), &unit.name);
    let mut body = Body::of("ssau");
    body.text(&unit.name);
    body.text(&Path::new("/").join(below).to_string_lossy());
    body.array(4, |list| list.uint32(pid.unsigned_abs()));
    bus.ask(MANAGER, "AttachProcessesToUnit", body).or_fault(doing)?.map(drop).or_fault(doing)
}

/// Stops the unit, waits for that, and forgets it.
///
/// # Errors
/// The bus, or that it does not stop, with the unit's name.
pub fn stop(unit: &UnitFacts) -> anyhow::Result<()> {
    let mut bus = connect(unit.bus)?;
    let doing = || doing("stop", &unit.name);
    bus.subscribe(JOB_REMOVED);
    match bus.ask(MANAGER, "StopUnit", Body::texts(&[&unit.name, "replace"])).or_fault(doing)? {
        Ok(message) => {
            let job = message.reader().text().unwrap_or_default();
            let result = finished(&mut bus, &job).or_fault(doing)?;
            if result != "done" {
                tracing::warn!("stopping the systemd unit {}: {result}", unit.name);
            }
        }
        // A scope goes with its last process.
        Err(refused) if refused.name.ends_with(".NoSuchUnit") => return Ok(()),
        Err(refused) => return Err(refused).or_fault(doing),
    }
    reset(&mut bus, &unit.name).or_fault(doing)
}
