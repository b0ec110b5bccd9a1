//! Which file on the host holds a bucket. Pure.

use std::path::PathBuf;

use crate::runtime::Mount;

/// Finds the file that a container sees as `path`, which must lie directly in a volume: further down a guest could have
/// put links in the way.
///
/// # Errors
/// Says what would do instead.
pub(super) fn file(mounts: &[Mount], path: &str) -> Result<PathBuf, String> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.is_empty() || name == "." || name == ".." {
        return Err(format!("{path} is not the path of a file"));
    }
    let mount = mounts.iter().find(|mount| mount.guest.trim_end_matches('/') == dir);
    let mount = mount.ok_or_else(|| format!("{path} does not lie directly in a volume of the container"))?;
    if mount.is_read_only {
        return Err(format!("{dir} is mounted read-only"));
    }
    Ok(mount.host.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str) -> Result<String, String> {
        let mount =
            |host: &str, guest: &str, is_read_only| Mount { host: host.into(), guest: guest.into(), is_read_only };
        let mounts = [mount("/pods/1/data", "/data", false), mount("/pods/1/conf", "/conf/", true)];
        file(&mounts, path).map(|path| path.display().to_string())
    }

    #[test]
    fn a_bucket_is_a_file_directly_in_a_writable_volume() {
        assert_eq!(check("/data/a.redb").unwrap(), "/pods/1/data/a.redb");
        assert_eq!(check("/conf/a.redb").unwrap_err(), "/conf is mounted read-only");
        for outside in ["/data/deeper/a.redb", "/elsewhere/a.redb", "/a.redb"] {
            assert!(check(outside).unwrap_err().ends_with("does not lie directly in a volume of the container"));
        }
        for strange in ["/data/", "/data/..", "/data/."] {
            assert!(check(strange).unwrap_err().ends_with("is not the path of a file"), "{strange}");
        }
    }
}
