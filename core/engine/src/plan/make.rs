//! From a recipe to its plan, step by step, each step giving all the faults it finds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::error::nearest;
use crate::plan::axis::{Axis, Flow};
use crate::plan::names::Given;
use crate::plan::parameters::{Check, Origin, OutPath, Owner};
use crate::plan::{
    Feed, Loop, Node, NodeId, Pass, Plan, StageOptions, Step, Stream, What, isolate, join, looped, options,
    output, per, wire,
};
use crate::port::Port;
use crate::recipe::{PassText, Recipe, StageText, Table, Word};
use crate::registry::{Declaration, Registry, Role};
use crate::stage::{Built, Lag, guard};
use crate::value::{Key, Value};

/// The name of the engine's own join.
pub(crate) const JOIN: &str = "flow.join";

/// What a recipe means: the plan with its warnings, or every fault.
pub fn make(recipe: &Recipe, registry: &Registry) -> Result<(Plan, Diagnostics), Diagnostics> {
    let mut maker = Maker {
        recipe,
        registry,
        faults: recipe.faults.clone(),
        arguments: BTreeMap::new(),
        passes: vec![],
        loops: vec![],
        carried: vec![],
        drafts: vec![],
        flows: vec![],
    };
    maker.arguments();
    let run = options::run(recipe, &mut maker.faults);
    maker.passes();
    looped::skeleton(&mut maker);
    for text in &recipe.stages {
        let draft = maker.draft(text);
        maker.drafts.push(draft);
    }
    maker.unread_shared();
    maker.references();
    looped::values(&mut maker);
    let order = maker.order();
    wire::all(&mut maker, &order);
    join::keys(&mut maker);
    let passes = looped::passes(&mut maker, &order);
    output::paths(&mut maker);
    let results = output::results(&mut maker);
    output::unread(&mut maker, &results);
    let found = Diagnostics::new(recipe.files.clone(), std::mem::take(&mut maker.faults));
    if found.has_errors() {
        return Err(found);
    }
    let plan = maker.plan(run, passes, results);
    Ok((plan, found))
}

/// A stage on its way into the plan.
pub(crate) struct Draft<'a> {
    pub text: &'a StageText,
    /// None for a stage that is not known; what follows from it is not reported again.
    pub what: Option<What>,
    pub pass: usize,
    pub set: Json,
    pub run: StageOptions,
    pub lag: Option<Lag>,
    pub outputs: Vec<OutPath>,
    /// The streams it reads, as far as they are known.
    pub from: Vec<Stream>,
    /// What its `in` says, name by name.
    pub given: Vec<(Word, Place, Given)>,
    pub inputs: Vec<(Key, Feed)>,
}

impl<'a> Draft<'a> {
    /// The declaration, none for a join or an unknown stage.
    pub(crate) fn declaration(&self) -> Option<&Declaration> {
        match &self.what {
            Some(What::Stage(declaration)) => Some(declaration),
            _ => None,
        }
    }

    pub(crate) fn role(&self) -> Option<Role> {
        self.declaration().map(|d| d.role)
    }

    pub(crate) fn name(&self) -> &'a str {
        &self.text.name.text
    }

    /// Its output port of a name.
    pub(crate) fn output(&self, name: &str) -> Option<&Port> {
        self.declaration()?.outputs.iter().find(|p| p.name == name && !p.open)
    }

    /// Whether it gives keys that only the run will know.
    pub(crate) fn gives_open(&self) -> bool {
        self.declaration().is_some_and(|d| d.outputs.iter().any(|p| p.open))
    }
}

/// What is known while a plan is made.
pub(crate) struct Maker<'a> {
    pub recipe: &'a Recipe,
    pub registry: &'a Registry,
    pub faults: Vec<Diagnostic>,
    pub arguments: BTreeMap<String, Value>,
    pub passes: Vec<PassText>,
    pub loops: Vec<Loop>,
    /// The ports that feed each carried value, loop by loop.
    pub carried: Vec<Vec<(Key, Vec<Port>)>>,
    pub drafts: Vec<Draft<'a>>,
    /// What each stage gives, filled in the order of wiring.
    pub flows: Vec<Option<Flow>>,
}

impl<'a> Maker<'a> {
    /// The loop that a pass is in.
    pub(crate) fn loop_of(&self, pass: usize) -> Option<usize> {
        self.loops.iter().position(|l| l.passes.contains(&pass))
    }

    fn passes(&mut self) {
        self.passes = self.recipe.passes.clone();
        if self.passes.is_empty() {
            let at = Place::default();
            self.passes.push(PassText { name: Word { text: "main".into(), at }, needs: None });
        }
    }

    /// One stage: what it is, its parameters, how it runs.
    fn draft(&mut self, text: &'a StageText) -> Draft<'a> {
        let pass = self.pass_of(text);
        let run = options::stage(self.recipe, text, &mut self.faults);
        let mut draft = Draft {
            text,
            what: None,
            pass,
            set: Json::Object(Map::new()),
            run,
            lag: None,
            outputs: vec![],
            from: vec![],
            given: vec![],
            inputs: vec![],
        };
        let Some(plugin) = &text.plugin else { return draft };
        if plugin.text == JOIN {
            draft.what = Some(What::Join(join::read(self, text)));
            options::by_role(self.recipe, text, None, &draft.run, &mut self.faults);
            return draft;
        }
        let Some(declaration) = self.registry.get(&plugin.text).cloned() else {
            let all = self.registry.iter().map(|d| d.name.as_str()).chain([JOIN]);
            let near = nearest(&plugin.text, all);
            let fault = Diagnostic::error("E0110", format!("no stage `{}`", plugin.text)).at(plugin.at, "");
            self.faults.push(fault.similar(near).help("`isard list` shows all"));
            return draft;
        };
        options::by_role(self.recipe, text, Some(declaration.role), &draft.run, &mut self.faults);
        let declaration = isolate::settle(self.recipe, text, declaration, &mut draft.run, &mut self.faults);
        self.parameters(&mut draft, &declaration);
        draft.what = Some(What::Stage(self.per(&draft, declaration)));
        draft
    }

    /// What a stage declares, changed by `run.per`.
    fn per(&mut self, draft: &Draft<'_>, declaration: Arc<Declaration>) -> Arc<Declaration> {
        let Some(axis) = &draft.run.per else { return declaration };
        match per::ports(draft, &declaration, axis) {
            Ok(outputs) if outputs == declaration.outputs => declaration,
            Ok(outputs) => Arc::new(Declaration { outputs, ..(*declaration).clone() }),
            Err(message) => {
                let text = draft.text;
                let at = text.run.get("per").map_or(text.name.at, |item| item.at);
                self.faults.push(
                    Diagnostic::error("E0142", format!("stage `{}` cannot gain `{axis}`", text.name.text))
                        .at(at, message)
                        .help("give the axis of the scan another name"),
                );
                declaration
            }
        }
    }

    fn pass_of(&mut self, text: &StageText) -> usize {
        let Some(item) = text.run.get("pass") else { return 0 };
        let Some(name) = item.text() else { return 0 };
        let names: Vec<&str> = self.passes.iter().map(|p| p.name.text.as_str()).collect();
        if let Some(pass) = names.iter().position(|n| *n == name) {
            return pass;
        }
        let near = nearest(name, names.iter().copied());
        let help = "passes are named in order by `[pass.NAME]`";
        let fault = Diagnostic::error("E0150", format!("no pass `{name}`")).at(item.at, "").similar(near);
        // The pass that was meant, if it can be told, keeps what follows in its place.
        let meant = near.and_then(|near| names.iter().position(|n| *n == near)).unwrap_or(0);
        self.faults.push(fault.help(help));
        meant
    }

    fn parameters(&mut self, draft: &mut Draft<'a>, declaration: &Arc<Declaration>) {
        let text = draft.text;
        let mut without = vec![];
        if self.loop_of(draft.pass).is_none() {
            without.push(("turn", "the stage's pass is in no loop".to_owned()));
        }
        if draft.run.per.is_none() {
            without.push(("per", "the stage has no `run.per`".to_owned()));
        }
        let owner = Owner {
            noun: "parameter",
            name: format!("stage `{}`", text.name.text),
            unknown: "E0112",
            writes: declaration.role == Role::Writer,
            without,
        };
        // What a loop sets at every turn need not be set besides.
        let mut set = text.set.clone();
        for (name, first) in looped::first_values(self.recipe, &text.name.text) {
            if set.get(&name.text).is_none() {
                set.set(name, first);
            }
        }
        let recipe = self.recipe;
        let arguments = |name: &str| {
            let origin = match recipe.parameters.get(name) {
                Some(default) if !recipe.arguments.contains_key(name) => Origin::Default(default.at),
                _ => Origin::Caller,
            };
            Some((self.arguments.get(name)?.to_json(), origin))
        };
        let mut check = Check::new(&owner, &declaration.schema, &self.recipe.files);
        check.shared = Some(&self.recipe.shared);
        check.arguments = Some(&arguments);
        check.caller = &recipe.folder;
        let json = check.table(&set, text.set_at);
        let (mut faults, outputs) = (check.faults, check.outputs);
        draft.outputs = outputs;
        draft.set = json;
        if faults.is_empty() {
            match self.build(declaration, &draft.set, &set, text.set_at, &text.name.text) {
                Ok(lag) => draft.lag = lag,
                Err(mut more) => faults.append(&mut more),
            }
        }
        self.faults.append(&mut faults);
    }

    /// Builds a stage and lets it check its own parameters.
    pub(crate) fn build(
        &self,
        declaration: &Declaration,
        json: &Json,
        set: &Table,
        at: Place,
        name: &str,
    ) -> Result<Option<Lag>, Vec<Diagnostic>> {
        let refused = |message: String, at: Place| {
            Diagnostic::error("E0120", format!("stage `{name}` refuses its parameters")).at(at, message)
        };
        let built = match guard("build", || (declaration.build)(json.clone())) {
            Ok(built) => built,
            Err(error) => {
                let fault = refused(error.message().to_owned(), at);
                return Err(vec![error.advice().map_or(fault.clone(), |help| fault.help(help))]);
            }
        };
        let own = built.stage().check();
        if !own.is_empty() {
            let each = own.into_iter().map(|fault| {
                let entry = set.entry(&fault.parameter).map(|(_, item)| item.at);
                let place = set.path(&fault.parameter).map(|i| i.at).or(entry).unwrap_or(at);
                let parameter =
                    if fault.parameter.is_empty() { "".into() } else { format!("`{}`: ", fault.parameter) };
                let one = refused(format!("{parameter}{}", fault.message), place);
                fault.help.map_or(one.clone(), |help| one.help(help))
            });
            return Err(each.collect());
        }
        match &built {
            Built::Fold(fold) => match guard("lag", || Ok(fold.lag())) {
                Ok(lag) => Ok(Some(lag)),
                Err(error) => Err(vec![refused(error.message().to_owned(), at)]),
            },
            _ => Ok(None),
        }
    }

    /// Tables and keys under `[shared]` that no stage takes.
    fn unread_shared(&mut self) {
        let mut known: Vec<String> = vec![];
        for declaration in self.drafts.iter().filter_map(Draft::declaration) {
            let properties = declaration.schema.get("properties").and_then(Json::as_object);
            for (_, part) in properties.into_iter().flatten() {
                known.extend(part.get("x-shared").and_then(Json::as_str).map(str::to_owned));
            }
        }
        // An unknown stage may be the one that takes it.
        if self.drafts.iter().any(|d| d.what.is_none()) {
            return;
        }
        for (word, item) in &self.recipe.shared.0 {
            let table = &word.text;
            let keys: Vec<&str> =
                known.iter().filter_map(|k| k.strip_prefix(table.as_str())?.strip_prefix('.')).collect();
            if known.contains(table) {
                continue;
            }
            if keys.is_empty() {
                self.unread(word, &format!("`[shared.{table}]`"), known.iter().map(String::as_str));
            } else if let Some(inner) = item.table() {
                for (key, _) in inner.0.iter().filter(|(k, _)| !keys.contains(&k.text.as_str())) {
                    let what = format!("`{}` of `[shared.{table}]`", key.text);
                    self.unread(key, &what, keys.iter().copied());
                }
            } else {
                let message = format!("`shared.{table}` is {}", item.describe());
                self.faults.push(Diagnostic::error("E0104", message).at(item.at, "wanted a table"));
            }
        }
    }

    fn unread<'w>(&mut self, word: &Word, what: &str, known: impl Iterator<Item = &'w str>) {
        // A site's file serves many recipes.
        if self.recipe.site != Some(word.at.file) {
            let fault = Diagnostic::warning("W0202", format!("no stage takes {what}")).at(word.at, "");
            self.faults.push(fault.similar(nearest(&word.text, known)));
        }
    }

    fn plan(
        self,
        run: crate::plan::RunOptions,
        passes: Vec<Pass>,
        results: Vec<(String, NodeId, Key)>,
    ) -> Plan {
        let steps = self.steps(&passes);
        let opens: Vec<Option<String>> = (0..self.drafts.len()).map(|id| self.opens(id)).collect();
        let nodes: Vec<Node> = self.drafts.into_iter().zip(opens).filter_map(|(d, o)| node(d, o)).collect();
        let scan: Vec<(String, u64)> =
            self.recipe.scan.iter().map(|(n, len)| (n.text.clone(), *len)).collect();
        let resolved = output::resolved(self.recipe, &run, &scan, &nodes, &passes);
        let files = self.recipe.files.iter().filter(|f| f.real);
        Plan {
            name: self.recipe.name.clone().unwrap_or_else(|| output::stem(self.recipe)),
            written: files.map(|f| (f.path.clone(), f.text.clone())).collect(),
            resolved,
            run,
            scan,
            nodes,
            passes,
            loops: self.loops,
            steps,
            arguments: self.arguments,
            results,
            tests: self.recipe.tests.clone(),
            files: self.recipe.files.clone(),
        }
    }

    /// The axis a stage opens.
    fn opens(&self, id: NodeId) -> Option<String> {
        let flow = self.flows.get(id)?.as_ref()?;
        (flow.root == id && flow.axis != Axis::Frame).then(|| flow.axis.word().to_owned())
    }

    /// The passes as they run: a loop runs where its first pass stands.
    fn steps(&self, passes: &[Pass]) -> Vec<Step> {
        let mut steps = vec![];
        for (i, pass) in passes.iter().enumerate() {
            let Some(in_loop) = self.loop_of(i) else {
                steps.push(Step { name: pass.name.clone(), pass: i, turn: None });
                continue;
            };
            let one = &self.loops[in_loop];
            if one.passes.first() != Some(&i) {
                continue;
            }
            for turn in 0..one.repeat {
                for &inner in &one.passes {
                    let name = format!("{}.{}.{}", one.name, turn + 1, passes[inner].name);
                    steps.push(Step { name, pass: inner, turn: Some((in_loop, turn)) });
                }
            }
        }
        steps
    }
}

fn node(draft: Draft<'_>, opens: Option<String>) -> Option<Node> {
    Some(Node {
        name: draft.text.name.text.clone(),
        what: draft.what?,
        set: draft.set,
        from: draft.from,
        inputs: draft.inputs,
        pass: draft.pass,
        opens,
        run: draft.run,
        at: draft.text.name.at,
    })
}
