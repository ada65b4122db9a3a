//! The projects of the handlers folder: what their builds result in.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::super::options::HandlerEvent;
use super::super::settle::Hint;
use super::super::slot::Slot;
use super::Slots;
use crate::host_name::full_name;
use crate::registry::{Claim, Pending, Problem, ProblemKind, Step, label};
use crate::reload::projects::{BuildEvent, BuildStep, Places, Project, Projects};
use crate::router::{Route, Shape};

/// The end of a project's build that was not cancelled.
#[derive(Debug)]
pub(in crate::reload) struct Built {
    /// The project's path in the handlers folder.
    file: String,
    /// The project's name.
    name: String,
    /// Why it failed, with all lines.
    failure: Option<String>,
}

impl Built {
    /// Returns the end of a build, if the event is one.
    pub(in crate::reload) fn from_event(event: &BuildEvent) -> Option<Self> {
        let BuildStep::Ended { failure, .. } = &event.step else {
            return None;
        };
        Some(Self {
            file: event.file.clone(),
            name: event.name.clone(),
            failure: failure.clone(),
        })
    }
}

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
    pub(in crate::reload) fn built(&mut self, built: Built, now: Instant) {
        self.settle.note(&built.file, Hint::Moved, now);
        if let Some(message) = built.failure {
            self.unbuilt.insert(built.file.clone());
            self.record(|| HandlerEvent::Failed {
                name: built.name,
                file: built.file,
                message,
            });
        } else if self.unbuilt.remove(&built.file) {
            // If the result is the version that is served, no load follows.
            let serving = self.slots.values().filter_map(|slot| slot.serving.clone());
            let found = serving
                .into_iter()
                .find(|handler| handler.file == built.file);
            if let Some(handler) = found {
                self.record(|| HandlerEvent::loaded(&handler, None));
            }
        }
    }

    /// Returns the projects that are being built for the first time.
    pub(super) fn building(&self) -> impl Iterator<Item = &Arc<Pending>> {
        let is_new = |(shape, _): &(&Shape, _)| !self.slots.contains_key(*shape);
        let building = self.building.iter().filter(is_new);
        building.map(|(_, pending)| pending)
    }

    /// Lets the routes of projects without an artifact answer 503 until their first build has
    /// ended.
    fn expect_builds(&mut self, found: &[Project]) {
        let Some(projects) = &self.projects else {
            return;
        };
        let failures = projects.failures();
        let mut before = std::mem::take(&mut self.building);
        let claim = match self.was_listed {
            true => Claim::Rest,
            false => Claim::Route,
        };
        for project in found {
            if !project.kind.has_artifact() || failures.contains_key(&project.file) {
                continue;
            }
            let Ok(route) = Route::parse(project.name()) else {
                continue;
            };
            let shape = route.shape();
            let known = before.remove(&shape);
            let known = known.filter(|pending| pending.file == project.file);
            let pending = known.unwrap_or_else(|| {
                Arc::new(Pending {
                    name: full_name(self.host.as_deref(), project.name()),
                    route,
                    file: project.file.clone(),
                    claim,
                    step: Step::Build,
                })
            });
            // If several projects have the route, it answers 503 for the first.
            self.building.entry(shape).or_insert(pending);
        }
    }

    /// Has these projects built, and reports those whose last build failed.
    pub(super) fn follow_projects(&mut self, found: Vec<Project>) {
        self.expect_builds(&found);
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
