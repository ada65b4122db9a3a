//! Checks the image of the static program: builds it from `packaging/Dockerfile` with buildah,
//! which needs no daemon, and serves a site in it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use builder::Workspace;
use processes::{run, step, text_of};

use super::system::{self, Server};

/// The name of the image.
const IMAGE: &str = "wasgi-check";

/// The address in the image, and the one in the check, which shares the host's network.
const ADDR: &str = "0.0.0.0:8000";
const FREE_ADDR: &str = "127.0.0.1:0";

/// The user of the image, which is no user of the host.
const USER: &str = "65534:65534";

/// Builds the image, and requests a page and a handler of a container.
///
/// # Errors
///
/// Fails if the image can't be built, runs as another user, or doesn't serve.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    if Command::new("buildah").arg("--version").output().is_err() {
        step("SKIPPED: packaging/Dockerfile is not built (apt-get install buildah)");
        return Ok(());
    }
    step("buildah bud packaging/Dockerfile");
    let folder = tempfile::tempdir_in(workspace.target.join("package"))?;
    let builds = Builds(folder.path());
    run(builds
        .command(&["bud", "--isolation", "chroot", "--tag", IMAGE, "--file"])
        .arg(workspace.root.join("packaging/Dockerfile"))
        .arg(super::files::staged(workspace)))?;
    let container = text_of(&mut builds.command(&["from", IMAGE]))?;
    let container = container.trim();
    let user = builds.config(container, "User")?;
    ensure!(user == [USER], "the image has the user {user:?}");
    let mut command = builds.config(container, "Entrypoint")?;
    command.extend(builds.config(container, "Cmd")?);
    let addr = command.iter_mut().find(|argument| *argument == ADDR);
    *addr.context("the image listens on another address")? = FREE_ADDR.into();
    let site = folder.path().join("site");
    super::files::write(&site.join("html/index.html"), system::SERVED[0].1)?;
    super::files::write(&site.join("handlers/hello.py"), system::HANDLER)?;
    run(Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(folder.path()))?;
    serve(&builds, container, &site, &command)
}

/// Serves a site in a container.
fn serve(builds: &Builds<'_>, container: &str, site: &Path, command: &[String]) -> Result<()> {
    let volume = format!("{}:/site:ro", site.display());
    let output = site.with_file_name("output");
    let mut run = builds.command(&["run", "--isolation", "chroot", "--volume", &volume]);
    run.args([container, "--"]).args(command);
    run.stdin(Stdio::null()).stdout(File::create(&output)?);
    let mut child = run.spawn().context("can't start buildah")?;
    let served = system::wait_for_start(&mut child, || Ok(fs::read_to_string(&output)?))
        .and_then(|output| Server::from_output(&output)?.expect_site());
    let pid = child.id().to_string();
    // buildah passes the signal on.
    let stopped = processes::run(Command::new("kill").arg(pid));
    let ended = child.wait().context("can't wait for buildah");
    served?;
    stopped?;
    step(format!("the container ends: {}", ended?));
    Ok(())
}

/// A folder in which buildah keeps its images and containers.
struct Builds<'a>(&'a Path);

impl Builds<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        // The driver that works on each file system.
        command.args(["--storage-driver", "vfs", "--root"]);
        command.arg(self.0.join("root")).arg("--runroot");
        command.arg(self.0.join("runroot")).args(arguments);
        command
    }

    /// Returns the words of a key of a container's configuration.
    fn config(&self, container: &str, key: &str) -> Result<Vec<String>> {
        let format = format!("{{{{.OCIv1.Config.{key}}}}}");
        let text = text_of(&mut self.command(&["inspect", "--format", &format, container]))?;
        let words = text.trim().trim_start_matches('[').trim_end_matches(']');
        Ok(words.split_whitespace().map(str::to_owned).collect())
    }
}
