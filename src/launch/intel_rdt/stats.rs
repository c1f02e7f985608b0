//! What the container's group in resctrl has and has used, as `intel_rdt` in runc's stats event.

use super::Share;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

impl Share {
    /// All of it; what resctrl here has not is left out.
    pub fn stats(&self) -> Value {
        let mut stats = Map::new();
        let own = text(&self.group, "schemata");
        let all = text(&self.root, "schemata");
        let cache = ["L3", "L3CODE"].map(|name| self.root.join("info").join(name));
        if let Some(info) = cache.iter().find(|info| info.exists()) {
            stats.insert("l3_cache_info".into(), info_of(info, &["cbm_mask", "min_cbm_bits", "num_closids"]));
            line(&mut stats, "l3_cache_schema_root", &all, "L3");
            line(&mut stats, "l3_cache_schema", &own, "L3");
        }
        let info = self.root.join("info/MB");
        if info.exists() {
            let fields = ["bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"];
            stats.insert("mem_bw_info".into(), info_of(&info, &fields));
            line(&mut stats, "mem_bw_schema_root", &all, "MB");
            line(&mut stats, "mem_bw_schema", &own, "MB");
        }
        let features = text(&self.root, "info/L3_MON/mon_features");
        let domains = domains(self.monitoring.as_ref().unwrap_or(&self.group));
        let counters = |wanted: &[&str]| -> Option<Value> {
            features
                .lines()
                .any(|feature| wanted.contains(&feature))
                .then(|| domains.iter().map(|domain| info_of(domain, wanted)).collect())
        };
        stats.extend(
            counters(&["mbm_total_bytes", "mbm_local_bytes"]).map(|value| ("mbm_stats".to_string(), value)),
        );
        stats.extend(counters(&["llc_occupancy"]).map(|value| ("cmt_stats".to_string(), value)));
        stats.insert("schemata".into(), own.lines().map(str::trim).filter(|line| !line.is_empty()).collect());
        stats.into()
    }
}

fn text(directory: &Path, file: &str) -> String {
    fs::read_to_string(directory.join(file)).unwrap_or_default()
}

/// A line of a schemata file, by the resource that it begins with.
fn line(stats: &mut Map<String, Value>, name: &str, schemata: &str, resource: &str) {
    let found = schemata.lines().map(str::trim).find(|line| line.starts_with(resource));
    stats.extend(found.map(|line| (name.to_string(), line.into())));
}

/// Files with a number each, or a mask.
fn info_of(directory: &Path, files: &[&str]) -> Value {
    let value = |file: &&str| {
        let text = fs::read_to_string(directory.join(file)).ok()?;
        let text = text.trim();
        let value = if *file == "cbm_mask" { json!(text) } else { json!(text.parse::<u64>().ok()?) };
        Some(((*file).to_string(), value))
    };
    files.iter().filter_map(value).collect::<Map<_, _>>().into()
}

/// One directory for each cache.
fn domains(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group.join("mon_data")).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_and_its_counters_are_told_in_runcs_words() {
        let root = std::env::temp_dir().join(format!("kase-rdt-stats-{}", std::process::id()));
        let file = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        file("info/L3/cbm_mask", "fffff\n");
        file("info/L3/min_cbm_bits", "1\n");
        file("info/L3/num_closids", "16\n");
        file("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n");
        file("schemata", "    L3:0=fffff;1=fffff\n");
        file("web/schemata", "    L3:0=f;1=f\n    L2:0=1\n");
        file("web/mon_groups/web/mon_data/mon_L3_00/llc_occupancy", "4096\n");
        file("web/mon_groups/web/mon_data/mon_L3_00/mbm_total_bytes", "12\n");
        file("web/mon_groups/web/mon_data/mon_L3_00/mbm_local_bytes", "Unavailable\n");
        let group = root.join("web");
        let monitoring = Some(group.join("mon_groups/web"));
        let stats = Share { root: root.clone(), group, monitoring, own: true }.stats();
        fs::remove_dir_all(&root).unwrap();
        let expected = json!({
            "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16},
            "l3_cache_schema_root": "L3:0=fffff;1=fffff",
            "l3_cache_schema": "L3:0=f;1=f",
            "mbm_stats": [{"mbm_total_bytes": 12}],
            "cmt_stats": [{"llc_occupancy": 4096}],
            "schemata": ["L3:0=f;1=f", "L2:0=1"],
        });
        assert_eq!(stats, expected);
    }
}
