# SPDX-License-Identifier: Apache-2.0
"""The five resource types over the lab's mechanics: what a change means, and how each is made, seen, changed and removed."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from .lab import hosts, images, names, networks, routers, volumes
from .lab.process import LabError
from .values import parsed, told

Values = dict[str, Any]


class Kind(ABC):
    """A resource type. `inputs` is its dataclass; a change of an input not in `mutable` makes a new resource."""

    inputs: ClassVar[type]
    outputs: ClassVar[tuple[str, ...]] = ()
    mutable: ClassVar[frozenset[str]] = frozenset()
    delete_first: ClassVar[bool] = True  # the name is taken until the old one is gone

    def problems(self, values: Values) -> list[tuple[str, str]]:
        """(field, what is wrong) beyond the types."""
        try:
            names.prefix(str(values.get("env", "")))
        except ValueError as failure:
            return [("env", str(failure))]
        return []

    def foreseen(self, values: Values) -> Values:  # noqa: ARG002 - kinds that foresee something use it
        """Outputs that are known before anything is made."""
        return {}

    def drifted(self, state: Values) -> list[str]:
        """Outputs that show that what is there must be mended in place."""
        return [] if state.get("state", "running") == "running" else ["state"]

    @abstractmethod
    def identifier(self, values: Values) -> str:
        """Pulumi's id of the resource."""

    @abstractmethod
    async def create(self, values: Values) -> Values:
        """Make it, and return its outputs. Called again after a failure."""

    @abstractmethod
    async def read(self, values: Values) -> Values | None:
        """Inputs and outputs as they really are; None if it is gone."""

    @abstractmethod
    async def update(self, values: Values) -> Values:
        """Mend it or apply a change in place, and return its outputs."""

    @abstractmethod
    async def delete(self, values: Values) -> None:
        """Remove it, also if it is half gone."""


class Image(Kind):
    """A golden layer. Its id is its content address, so any change is a new image, and the old one stays in the cache."""

    inputs = images.Image
    outputs = ("path", "digest")
    delete_first = False

    def problems(self, values: Values) -> list[tuple[str, str]]:  # noqa: ARG002 - as the others
        """Nothing: an image belongs to no environment."""
        return []

    def foreseen(self, values: Values) -> Values:
        """The path: it follows from the inputs, so that `plan` can say which hosts it would replace."""
        image: images.Image = parsed(self.inputs, values)
        return {"path": str(image.path), "digest": image.path.name}

    def identifier(self, values: Values) -> str:
        """The digest."""
        return str(self.foreseen(values)["digest"])

    async def create(self, values: Values) -> Values:
        """Build it unless the cache has it."""
        image: images.Image = parsed(self.inputs, values)
        path = await images.ensure(image.cache_folder, image.recipe)
        return {"path": str(path), "digest": path.name}

    async def read(self, values: Values) -> Values | None:
        """Gone if the cache was cleared."""
        image: images.Image = parsed(self.inputs, values)
        path = images.folder(image.cache_folder, str(values.get("digest") or image.path.name))
        return {**told(image), "path": str(path), "digest": path.name} if images.present(path) else None

    async def update(self, values: Values) -> Values:
        """As create; only the name or the list of tiers can have changed."""
        return await self.create(values)

    async def delete(self, values: Values) -> None:
        """Leaves the cache: other environments may stand on it."""


class Router(Kind):
    """A site's router; a change is applied in place, without an interruption when only the packet filter changed."""

    inputs = routers.Router
    outputs = ("state",)
    mutable = frozenset({"ruleset", "routes", "zones", "link_address", "link_address6", "wan_address6"})

    def identifier(self, values: Values) -> str:
        """Its namespace."""
        return names.router(values["env"], values["site"])

    async def create(self, values: Values) -> Values:
        """Make or mend it."""
        router: routers.Router = parsed(self.inputs, values)
        await routers.ensure(router)
        return {"state": await routers.inspect(router)}

    async def read(self, values: Values) -> Values | None:
        """Its state; what is in its namespace decides."""
        router: routers.Router = parsed(self.inputs, values)
        state = await routers.inspect(router)
        return None if state == "absent" else {**told(router), "state": state}

    async def update(self, values: Values) -> Values:
        """As create: everything in it is idempotent."""
        return await self.create(values)

    async def delete(self, values: Values) -> None:
        """Remove it; wan, link and mirror go with the last one."""
        await routers.remove(parsed(self.inputs, values))


class Network(Kind):
    """The bridge of a zone. Its addresses are the hosts' and the router's; here they are only told."""

    inputs = networks.Network
    mutable = frozenset({"network", "network6"})

    def identifier(self, values: Values) -> str:
        """Switch and zone."""
        return f"{names.switch(values['env'], values['site'])}/{values['zone']}"

    async def create(self, values: Values) -> Values:
        """Make it, and plug in what was its own."""
        await networks.ensure(values["env"], values["site"], values["zone"])
        return {}

    async def read(self, values: Values) -> Values | None:
        """Gone if the bridge is."""
        return values if await networks.present(values["env"], values["site"], values["zone"]) else None

    async def update(self, values: Values) -> Values:
        """As create."""
        return await self.create(values)

    async def delete(self, values: Values) -> None:
        """Remove it."""
        await networks.remove(values["env"], values["site"], values["zone"])


class Volume(Kind):
    """Data apart from its host. Grows in place; deleted only if disposable."""

    inputs = volumes.Volume
    mutable = frozenset({"size_gib", "disposable"})

    def problems(self, values: Values) -> list[tuple[str, str]]:
        """A size must be at least 1 GiB."""
        small = isinstance(values.get("size_gib"), int) and values["size_gib"] < 1
        return super().problems(values) + (
            [("size_gib", "less than 1; a whole number of GiB would be right")] if small else []
        )

    def identifier(self, values: Values) -> str:
        """Site and name."""
        return f"{names.prefix(values['env'])}{values['site']}/{values['name']}"

    async def create(self, values: Values) -> Values:
        """Make it, or take the one that is there: data is never overwritten."""
        await volumes.ensure(values["env"], values["site"], values["name"], values["size_gib"])
        return {}

    async def read(self, values: Values) -> Values | None:
        """Its true size."""
        size = volumes.size_gib(values["env"], values["site"], values["name"])
        return None if size is None else {**values, "size_gib": size}

    async def update(self, values: Values) -> Values:
        """Grow it."""
        if volumes.size_gib(values["env"], values["site"], values["name"]) != values["size_gib"]:
            await volumes.grow(values["env"], values["site"], values["name"], values["size_gib"])
        return {}

    async def delete(self, values: Values) -> None:
        """Refused unless disposable."""
        await volumes.remove(values["env"], values["site"], values["name"], disposable=values["disposable"] is True)


class Host(Kind):
    """A host. Another image or another identity is another host; a stopped one is started in place."""

    inputs = hosts.Host
    outputs = ("ssh_host_key", "state")
    mutable = frozenset({"automation_key", "mirror", "volumes"})

    def identifier(self, values: Values) -> str:
        """Its machine name."""
        return names.host(values["env"], values["site"], values["name"])

    async def create(self, values: Values) -> Values:
        """Make and boot it, over the ruins of a failed attempt if need be."""
        return outcome(await hosts.create(parsed(self.inputs, values)))

    async def read(self, values: Values) -> Values | None:
        """What it was made of and whether it runs."""
        host: hosts.Host = parsed(self.inputs, values)
        seen = await hosts.inspect(host)
        return None if seen.state == "absent" else {**told(host), "image": seen.image, **outcome(seen)}

    async def update(self, values: Values) -> Values:
        """Start it again, or apply a change in place."""
        return outcome(await hosts.update(parsed(self.inputs, values)))

    async def delete(self, values: Values) -> None:
        """Remove it; its volumes stay."""
        await hosts.remove(parsed(self.inputs, values))


def outcome(seen: hosts.Seen) -> Values:
    """Outputs of a host."""
    return {"ssh_host_key": seen.ssh_host_key, "state": seen.state}


KINDS: dict[str, Kind] = {
    "jinku:lab:Image": Image(),
    "jinku:lab:Router": Router(),
    "jinku:lab:Network": Network(),
    "jinku:lab:Volume": Volume(),
    "jinku:lab:Host": Host(),
}


def kind_of(types: str) -> Kind:
    """The resource type at the end of a URN's types (`jinku:index:Node$jinku:lab:Host`). Raises LabError for another one."""
    token = types.rpartition("$")[2]
    if token not in KINDS:
        raise LabError(f"{token}: no resource type of this provider; one of {', '.join(KINDS)} would be right")
    return KINDS[token]
