//! The projects of the handlers folder: what their builds result in.

use std::path::Path;
use std::time::{Duration, Instant};

use super::super::options::HandlerEvent;
use super::super::settle::Hint;
use super::super::slot::Slot;
use super::{Slots, loaded};
use crate::registry::{Problem, ProblemKind, label};
use crate::reload::projects::{Built, Places, Project, Projects};

impl<P> Slots<P> {
    /// Has the folder's projects built from now on.
    pub(in crate::reload) fn build_with(&mut self, projects: Projects) {
        self.builds = Some(projects.places().clone());
        self.projects = Some(projects);
    }

    /// Serves the results of earlier builds of the folder's projects.
    pub(in crate::reload) fn serve_built(&mut self, builds: Places) {
        self.builds = Some(builds);
    }

    /// Returns what builds the folder's projects.
    pub(in crate::reload) fn projects(&self) -> Option<&Projects> {
        self.projects.as_ref()
    }

    /// Records the end of a project's build.
    pub(in crate::reload) fn built(&mut self, built: &Built, now: Instant) {
        self.settle.note(&built.file, Hint::Moved, now);
        if let Some(message) = &built.failure {
            self.unbuilt.insert(built.file.clone());
            self.record(|| HandlerEvent::Failed {
                name: built.name.clone(),
                file: built.file.clone(),
                message: message.clone(),
            });
        } else if self.unbuilt.remove(&built.file) {
            // If the result is the version that is served, no load follows.
            let serving = self.slots.values().filter_map(|slot| slot.serving.clone());
            let found = serving
                .into_iter()
                .find(|handler| handler.file == built.file);
            if let Some(handler) = found {
                self.record(|| loaded(&handler, Duration::ZERO));
            }
        }
    }

    /// Has these projects built, and reports those whose last build failed.
    pub(super) fn follow_projects(&mut self, found: Vec<Project>) {
        if let Some(projects) = &self.projects {
            projects.update(found);
            for (file, reason) in projects.failures() {
                let is_serving = |slot: &Slot<P>| slot.file == file && slot.serving.is_some();
                let end = match self.slots.values().any(is_serving) {
                    true => "; the version before is still served",
                    false => "",
                };
                let label = label(&self.given, Path::new(&file));
                let text = format!("not built: {reason}{end}");
                let problem = Problem::new(label, ProblemKind::NotBuilt, &text);
                self.complaints.push(problem);
            }
        }
    }
}
