//! A beginning and an end as one event.

use super::Event;

impl Event {
    /// Takes from another event of the same identity what this one leaves open. What both tell stays
    /// as it is here.
    pub fn complete_from(&mut self, other: &Event) {
        // All fields by name: a new one is not to be forgotten.
        let Event {
            source: _,
            pipeline: _,
            run: _,
            attempt: _,
            step: _,
            inferred: _,
            name,
            task,
            started,
            finished,
            result,
            traceparent,
            branch,
            commit,
            repository,
            url,
            worker,
            version,
            db,
            environment,
            deployment,
            digest,
            tests,
            deploy,
            load,
            usage,
            evidence,
        } = other;
        // Of tests, deploy and load an event has one.
        let bare = self.tests.is_none() && self.deploy.is_none() && self.load.is_none();
        if let (Some(own), Some(other)) = (&mut self.deploy, deploy) {
            take(&mut own.url, &other.url);
            if own.steps.is_empty() {
                own.steps.clone_from(&other.steps);
            }
        }
        if bare {
            self.tests.clone_from(tests);
            self.deploy.clone_from(deploy);
            self.load.clone_from(load);
        }
        take(&mut self.name, name);
        take(&mut self.task, task);
        take(&mut self.started, started);
        take(&mut self.finished, finished);
        take(&mut self.result, result);
        take(&mut self.traceparent, traceparent);
        take(&mut self.branch, branch);
        take(&mut self.commit, commit);
        take(&mut self.repository, repository);
        take(&mut self.url, url);
        take(&mut self.worker, worker);
        take(&mut self.version, version);
        take(&mut self.db, db);
        take(&mut self.environment, environment);
        take(&mut self.deployment, deployment);
        take(&mut self.digest, digest);
        take(&mut self.usage, usage);
        take(&mut self.evidence, evidence);
    }
}

fn take<T: Clone>(own: &mut Option<T>, other: &Option<T>) {
    if own.is_none() {
        own.clone_from(other);
    }
}
