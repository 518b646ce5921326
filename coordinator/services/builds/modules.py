"""Builds of modules: what a module's name and target mean, and the build they make."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from coordinator.domain.builds.conventional_targets import CONVENTION
from coordinator.domain.errors import Invalid, NotFound
from coordinator.domain.model import Artifact, Build, ModuleRef, Step
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.audit import Deed
from coordinator.services.builds.conditions import answers
from coordinator.services.builds.conventional_builds import conventional_targets
from coordinator.services.builds.drafts import Origin, draft
from coordinator.services.builds.input_lists import input_lists
from coordinator.services.builds.saved_drafts import save_asked_for
from coordinator.services.builds.workflow_files import known_workflow, workflow_at
from coordinator.services.core import Core
from coordinator.services.steps.dispatch import Dispatch
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.builds.module_builds import newest_built
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs import artifacts as stored_artifacts
from coordinator.storage.pushes import modules as stored
from coordinator.storage.pushes.modules import DeclaredModule, Whose
from pipelines_schema import (
    MODULE_FILES,
    Param,
    Problem,
    Target,
    Triggers,
    Workflow,
    default_params,
    param_problems,
    steps_for,
    undeclared_param_problems,
)
from pipelines_schema.modules import WHOLE_REPOSITORY
from pipelines_schema.problem import shown
from pipelines_schema.suggestions import closest

MAX_LISTED = 10
Scalar = str | bool | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleBuild:
    """A build of a module as it is now."""

    build: Build
    module_name: str
    artifacts: Sequence[tuple[str, Artifact]]
    """Each with the name it goes by among the build's."""
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class Modules:
    core: Core
    dispatch: Dispatch

    async def trigger(
        self,
        principal: Principal,
        name: str,
        target_name: str,
        *,
        clean: bool,
        parameters: Mapping[str, Scalar],
    ) -> Build:
        """Queue a build of a module's target at the tip of its default branch.

        `name` is the module's, or `project/module` or `account/project/module`.
        Raises Invalid: no such module or target, a name of several, wrong parameters.
        """
        principal.require(Right.BUILD)
        declared = await self._find(principal, name)
        if declared.module.targets:
            target = _target(declared, name, target_name)
            workflow, step = await self._workflow(declared, name, target), target.step
        else:
            workflow = await self._conventional(declared, name, target_name, parameters)
            step = None
        origin = replace(
            await self._origin(declared),
            params=checked_params(workflow.triggers.params, parameters),
            module=ModuleRef(
                name=declared.module.name,
                path=declared.module.path,
                target=target_name,
                step=step,
            ),
            clean=clean,
        )
        return await self._queue(principal, declared, workflow, origin)

    async def _conventional(
        self,
        declared: DeclaredModule,
        name: str,
        target_name: str,
        parameters: Mapping[str, Scalar],
    ) -> Workflow:
        """One of no file, with one step, for a module that declares no targets."""
        texts = checked_params((), parameters) or {}
        try:
            steps = await conventional_targets(self.core, declared, texts)
        except Invalid as error:
            raise unbuildable(name, _details("module_name", [error.message])) from error
        if not steps:
            raise unbuildable(name, _details("module_name", [_without_target(declared)]))
        if target_name not in steps:
            raise unbuildable(name, _details("build_target", [_unknown_target(target_name, steps)]))
        step = steps[target_name]
        return Workflow(name=step.name, file=None, triggers=Triggers(), steps=(step,))

    async def _find(self, principal: Principal, name: str) -> DeclaredModule:
        """Raises Invalid, saying what may help."""
        found = await self._known(principal, name)
        if found is None:
            raise await self._unknown(*_whose(principal, name), name)
        return found

    async def _known(self, principal: Principal, name: str) -> DeclaredModule | None:
        """Raises Invalid for a name of several."""
        qualifiers = name.split("/")[:-1]
        whose, module_name = _whose(principal, name)

        async def read(connection: AsyncConnection) -> Sequence[DeclaredModule]:
            """A declared module, before a whole project of that slug."""
            found = await stored.find_modules(connection, whose, module_name, MAX_LISTED + 1)
            if found or len(qualifiers) > 1:
                return found
            account = replace(whose, account_slug=whose.project_slug, project_slug=None)
            return await stored.whole_projects(connection, account, module_name, MAX_LISTED + 1)

        found = await self.core.database.read(read)
        if len(found) > 1:
            raise _ambiguous(name, found)
        return found[0] if found else None

    async def _unknown(self, whose: Whose, module_name: str, name: str) -> Invalid:
        """With what may help: a module of almost that name, or files that can't be read."""

        async def read(connection: AsyncConnection) -> tuple[Sequence[str], list[str]]:
            broken = await stored.broken_files(connection, whose, MAX_LISTED)
            problems = [
                f"{project.account_slug}/{project.slug}: {Problem.from_json(dict(problem))}"
                for project, file in broken
                for problem in file.problems
            ]
            return await stored.module_names(connection, whose), problems[:MAX_LISTED]

        names, problems = await self.core.database.read(read)
        near = closest(module_name, names)
        hints = [f"did you mean {shown(near)}?"] if near is not None else []
        where = (
            "a module is declared in `.pushrod/modules.yml` on its project's default branch; a "
            "whole project is one by its slug once it was pushed to"
        )
        return unbuildable(name, _details("module_name", [*hints, *problems, where]))

    async def _workflow(self, declared: DeclaredModule, name: str, target: Target) -> Workflow:
        """What is to be built, with no step that the target leaves out."""
        try:
            return await self._read_workflow(declared, target)
        except Invalid as error:
            problems = [str(Problem.from_json(dict(one))) for one in error.details[:MAX_LISTED]]
            said = f"{target.workflow}: {error.message}"
            raise unbuildable(name, _details("build_target", [said, *problems])) from error

    async def _read_workflow(self, declared: DeclaredModule, target: Target) -> Workflow:
        sha = declared.file.commit_hash or ""
        workflow = await workflow_at(
            self.core, declared.project, target.workflow, sha, of_fork=False
        )
        try:
            return steps_for(workflow, target.step)
        except KeyError as error:
            # Only where the workflow had mistakes when the modules were read, and none any more.
            raise Invalid(f"there is no step {shown(target.step or '')}") from error

    async def _origin(self, declared: DeclaredModule) -> Origin:
        sha = declared.file.commit_hash or ""
        commit = await self.core.repositories.commit(declared.project.id, sha)
        if commit is None or declared.file.branch is None:
            raise LookupError(f"project {declared.project.id} has lost its commit {sha}")
        return replace(Origin.of_push(declared.file.branch, commit), event="manual")

    async def _queue(
        self, principal: Principal, declared: DeclaredModule, workflow: Workflow, origin: Origin
    ) -> Build:
        project = declared.project
        wanted = draft(
            workflow,
            project,
            origin,
            None,
            self.core.now(),
            answers=await answers(self.core, project, workflow, origin),
            inputs=await input_lists(self.core, project, workflow, origin),
        )

        async def save(connection: AsyncConnection) -> Build:
            workflow_id = None
            if workflow.file is not None:
                workflow_id = await known_workflow(
                    self.core, connection, project, workflow.file, workflow.name
                )
            build = await save_asked_for(
                self.core, connection, project, replace(wanted, workflow_id=workflow_id)
            )
            await Deed(self.core, principal, build).record(
                connection,
                "build.created",
                module=build.module.to_json() if build.module else {},
                clean=build.clean,
            )
            return build

        return await self.core.database.write(save, committed=lambda _: self.dispatch.wake())

    async def get(self, principal: Principal, build_id: str) -> ModuleBuild:
        """Raises NotFound, also for a build of no module."""

        async def read(connection: AsyncConnection) -> ModuleBuild:
            build = await stored_builds.find_build(connection, build_id)
            if build is None or build.module is None or not principal.sees(build.account_id):
                raise NotFound("build not found")
            artifacts = await stored_artifacts.artifacts_of_build(connection, build_id)
            return ModuleBuild(
                build=build,
                module_name=build.module.name,
                artifacts=named_apart(artifacts),
                steps=await stored_builds.steps_of_build(connection, build_id),
            )

        return await self.core.database.read(read)

    async def artifact(
        self, principal: Principal, name: str, path: str, build_id: str | None
    ) -> tuple[Artifact, str]:
        """What `get` lists under that path, and its account: of the module's newest build that
        succeeded, where none is given. `name` is as `trigger` takes it.

        Raises NotFound; Invalid for a name of several.
        """
        if build_id is None:
            build_id = await self._newest_built(principal, name)
        found = await self.get(principal, build_id)
        if found.module_name == name.rpartition("/")[2]:
            for known_as, artifact in found.artifacts:
                if known_as == path:
                    return artifact, found.build.account_id
        raise NotFound("artifact not found")

    async def _newest_built(self, principal: Principal, name: str) -> str:
        declared = await self._known(principal, name)
        if declared is None:
            raise NotFound("module not found")
        build_id = await self.core.database.read(
            lambda connection: newest_built(connection, declared.project.id, declared.module.name)
        )
        if build_id is None:
            raise NotFound("no build of this module has succeeded yet")
        return build_id


def _whose(principal: Principal, name: str) -> tuple[Whose, str]:
    """Whose modules the name means, and the module's own. Raises Invalid for too many parts."""
    *qualifiers, module_name = name.split("/")
    if len(qualifiers) > 2:
        raise unbuildable(name)
    account_slug, project_slug = [None, None, *qualifiers][-2:]
    whose = Whose(
        account_id=principal.account_id, account_slug=account_slug, project_slug=project_slug
    )
    return whose, module_name


def unbuildable(name: str, details: Sequence[Mapping[str, Any]] = ()) -> Invalid:
    """In specification 000's own words."""
    message = f"Module '{name}' not found or build target invalid."
    return Invalid(message, details=details)


def _target(declared: DeclaredModule, name: str, target_name: str) -> Target:
    targets = declared.module.targets
    if target_name in targets:
        return targets[target_name]
    raise unbuildable(name, _details("build_target", [_unknown_target(target_name, targets)]))


def _unknown_target(target_name: str, targets: Collection[str]) -> str:
    near = closest(target_name, targets)
    listed = ", ".join(map(shown, list(targets)[:MAX_LISTED]))
    hint = f"did you mean {shown(near)}?" if near else f"its targets are {listed}"
    return f"the module has no target {shown(target_name)}: {hint}"


def _without_target(declared: DeclaredModule) -> str:
    project, path = declared.project, declared.module.path
    where = "the repository's top folder" if path == WHOLE_REPOSITORY else shown(path)
    return (
        f"{project.account_slug}/{project.slug} declares no targets, and nothing in {where} tells "
        f"of one: {CONVENTION}; else declare `targets` in `{MODULE_FILES[0]}`"
    )


def _details(path: str, messages: Sequence[str]) -> list[Mapping[str, str]]:
    return [{"path": path, "message": message} for message in messages]


def _ambiguous(name: str, found: Sequence[DeclaredModule]) -> Invalid:
    module_name = name.rpartition("/")[2]
    names = [_full_name(one, module_name) for one in found]
    listed = ", ".join(names[:MAX_LISTED]) + (", …" if len(names) > MAX_LISTED else "")
    return Invalid(
        f"Module '{name}' is declared by several projects: write one of {listed}",
        details=_details("module_name", names[:MAX_LISTED]),
    )


def _full_name(declared: DeclaredModule, module_name: str) -> str:
    """Two projects of one slug are told apart by their accounts."""
    project = f"{declared.project.account_slug}/{declared.project.slug}"
    whole = not declared.module.targets and declared.project.slug == module_name
    return project if whole else f"{project}/{module_name}"


def checked_params(
    declared: Sequence[Param], given: Mapping[str, Scalar]
) -> Mapping[str, str] | None:
    """The build's parameters as text, with the defaults of those not given.

    Where the workflow declares parameters, its rules hold; where it declares none, any will do:
    they reach scripts only as variables. Raises Invalid, naming each wrong one.
    """
    texts = {name: _as_text(value) for name, value in given.items()}
    problems = param_problems(declared, texts) if declared else undeclared_param_problems(texts)
    if problems:
        raise Invalid(
            "the build parameters are not those of the workflow",
            details=[
                {"path": f"build_parameters.{name}", "message": message}
                for name, message in problems.items()
            ],
        )
    return {**default_params(declared), **texts} or None


def _as_text(value: Scalar) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def named_apart(artifacts: Sequence[tuple[str, Artifact]]) -> list[tuple[str, Artifact]]:
    """Artifacts by their paths. `artifacts` have their steps' names.

    What a step passes on unchanged stands once; of different files of one path each is named by
    its step as well: no step's name holds a `/`.
    """
    contents: dict[str, set[str]] = {}
    for _, artifact in artifacts:
        contents.setdefault(artifact.name, set()).add(artifact.sha256)
    named: list[tuple[str, Artifact]] = []
    listed: set[str] = set()
    for step_name, artifact in artifacts:
        if len(contents[artifact.name]) > 1:
            named.append((f"{step_name}/{artifact.name}", artifact))
        elif artifact.name not in listed:
            named.append((artifact.name, artifact))
            listed.add(artifact.name)
    return named
