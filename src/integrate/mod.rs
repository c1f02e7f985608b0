//! `kase integrate`: kase in the configuration of an engine, and exactly that out of it again.
//!
//! Text is changed, and not read and written anew, so that everything else keeps its form and its comments.

pub mod containerd;
pub mod docker;
mod drop_in;
mod engine;
mod file;
mod json;
mod reload;
#[cfg(test)]
mod tests;
pub mod toml;

use crate::fault::{Fault, OrFault};
use file::Configuration;
use std::path::{Path, PathBuf};

pub use engine::{Choice, Engine};

/// What is asked for.
#[derive(Debug)]
pub struct Request {
    /// Whose configuration it is.
    pub engine: Engine,
    pub uid: u32,
    /// Where the configuration lies, if not in the usual directory.
    pub directory: Option<PathBuf>,
    /// The program that is registered.
    pub program: PathBuf,
    /// Whether it becomes the default.
    pub choice: Choice,
    /// Where a dockerd has its process id, if not in the usual file.
    pub pid_file: Option<PathBuf>,
}

impl Request {
    /// Adds kase. Tells in `said` what a person should know, also where it fails later.
    ///
    /// # Errors
    /// A configuration that cannot be read, understood or written, which stays as it was; a dockerd that cannot be
    /// told.
    pub fn add(&self, said: &mut Vec<String>) -> anyhow::Result<()> {
        let program = quoted(&self.program)?;
        let file = self.file()?;
        let shown = file.path.display();
        let stays = || stays(&format!("add kase to {shown}"));
        let base = self.without_kase(&file, said).or_fault(stays)?;
        let new = self.with_kase(&file, base.as_deref().unwrap_or_default(), &program).or_fault(stays)?;
        if file.has_kase()? && file.text()?.as_ref() == Some(&new) {
            said.push(format!("{shown} has kase already"));
            return Ok(());
        }
        let check = |new: &Path| match self.engine {
            Engine::Containerd => containerd::check(new),
            _ => Ok(()),
        };
        file.add(&new, base.as_deref(), check).or_fault(stays)?;
        let backup = base.map(|_| format!(", {} is as it was", file.before.display())).unwrap_or_default();
        said.push(format!("{shown} has kase now{backup}"));
        if !self.program.is_file() {
            said.push(format!("there is no {} yet", self.program.display()));
        }
        self.reload(said).map(drop)
    }

    /// Takes kase out again.
    pub fn remove(&self, said: &mut Vec<String>) -> anyhow::Result<()> {
        let file = self.file()?;
        let shown = file.path.display();
        if !file.has_kase()? {
            said.push(format!("{shown} has nothing of ours"));
            return Ok(());
        }
        let base = self.without_kase(&file, said).or_fault(|| stays(&format!("take kase out of {shown}")))?;
        file.restore(base.as_deref())?;
        said.push(format!("{shown} is without kase"));
        if self.reload(said)?.is_some() {
            let old =
                "a dockerd as old as 20.10 keeps its runtimes, and the default one, until it is restarted";
            said.push(old.to_owned());
        }
        Ok(())
    }

    fn file(&self) -> anyhow::Result<Configuration> {
        let directory = self.directory.clone().map_or_else(|| self.engine.directory(self.uid), Ok)?;
        let (file, records) = self.engine.files();
        Configuration::find(directory.join(file), &directory.join(records))
    }

    fn with_kase(&self, file: &Configuration, text: &str, program: &str) -> anyhow::Result<String> {
        Ok(match self.engine {
            Engine::Docker | Engine::DockerRootless => docker::add(text, program, self.choice)?,
            Engine::Containerd => containerd::add(text, program)?,
            Engine::Podman => drop_in::podman(&file.path, program, self.choice)?,
            Engine::Crio => drop_in::crio(program, self.choice),
        })
    }

    fn without_kase(&self, file: &Configuration, said: &mut Vec<String>) -> anyhow::Result<Option<String>> {
        file.without_kase(|now, before| match self.engine {
            Engine::Docker | Engine::DockerRootless => {
                Ok(Some(docker::remove(now, before.unwrap_or_default())?))
            }
            Engine::Containerd => Ok(Some(containerd::remove(now)?)),
            Engine::Podman | Engine::Crio => {
                file.record(&file.changed, now)?;
                let (shown, changed) = (file.path.display(), file.changed.display());
                said.push(format!("{shown} was changed since: see {changed}"));
                Ok(before.map(str::to_owned))
            }
        })
    }

    /// Lets the engine read its configuration anew, or tells when it will. The dockerd that did.
    fn reload(&self, said: &mut Vec<String>) -> anyhow::Result<Option<i32>> {
        let usual = match self.engine {
            Engine::Podman => return Ok(None),
            Engine::Containerd | Engine::Crio => {
                let name = Engine::NAMES[self.engine as usize];
                said.push(format!("restart {name}: it reads its configuration only then"));
                return Ok(None);
            }
            Engine::Docker => "/var/run/docker.pid".into(),
            Engine::DockerRootless => {
                let runtime = dirs::runtime_dir();
                runtime.unwrap_or_else(|| format!("/run/user/{}", self.uid).into()).join("docker.pid")
            }
        };
        let told = reload::dockerd(self.pid_file.as_deref().unwrap_or(usual.as_path()))?;
        said.push(match told {
            Some(pid) => format!("dockerd ({pid}) has read it anew"),
            None => "no dockerd runs here: it reads the file when it starts".to_owned(),
        });
        Ok(told)
    }
}

fn stays(doing: &str) -> Fault {
    Fault::doing(format!("{doing}, which stays as it was"))
        .remedy("correct what is wrong there, and try again")
}

/// The program's path as a string of JSON, which is one of TOML too.
fn quoted(program: &Path) -> anyhow::Result<String> {
    let plain = program.to_str().filter(|path| !path.contains(char::is_control));
    match plain {
        Some(path) if program.is_absolute() => Ok(serde_json::to_string(path)?),
        _ => {
            let said = format!("{program:?} is not absolute, not UTF-8 or has control characters");
            Err(Fault::doing(said).remedy("install kase elsewhere, or name it with --binary").into())
        }
    }
}
