//! resources.json, as `update` gets it; also sizes of huge pages and lists of processors.

use super::draw::Draw;
use crate::bundle;
use crate::plan::cgroup::limits::{self, Occasion};
use crate::plan::cgroup::{Version, properties};
use crate::plan::notes::Notes;

pub fn execute(bytes: &[u8]) {
    let (mut draw, text) = Draw::from(bytes);
    let version = draw.version().unwrap_or(Version::V2);
    let resources = match bundle::resources(text) {
        Ok(resources) => resources,
        Err(fault) => return super::assert_helps(&fault.into()),
    };
    for occasion in [Occasion::Create, Occasion::Update] {
        let mut notes = Notes::default();
        match limits::decide(&resources, version, occasion, &mut notes) {
            Ok(mut limits) => {
                for write in &limits.writes {
                    assert!(
                        !write.file.contains('/') && !write.file.is_empty(),
                        "{write:?} leaves the cgroup"
                    );
                }
                properties::round(&mut limits);
            }
            Err(fault) => {
                assert!(fault.place().is_some(), "{fault}");
                super::assert_helps(&fault.into());
            }
        }
    }
}

pub fn seeds(text: &[u8]) -> Vec<Vec<u8>> {
    super::draw::part(text, "/linux/resources")
}
